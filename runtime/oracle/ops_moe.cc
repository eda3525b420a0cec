// Primitives of mixtures of experts. Expert numbers travel between ops as floats.
#include <algorithm>

#include "runtime/oracle/primitives.h"
#include "runtime/oracle/reference_engine.h"

namespace hetune {
namespace {

using Step = ReferenceEngine::Step;

void router(const Step& s) {
    const auto experts = static_cast<size_t>(s.op.integer("experts"));
    const auto used = static_cast<size_t>(s.op.integer("used"));
    std::vector<float> logits(static_cast<size_t>(s.rows()) * experts);
    reference::linear(s.weight(0), 0, static_cast<int64_t>(experts), s.in(0), logits);
    const auto ids = s.out(0), shares = s.out(1);
    for (size_t r = 0; r < static_cast<size_t>(s.rows()); ++r) {
        const reference::Routes routes = reference::route(
            std::span(logits).subspan(r * experts, experts), used, s.op.integer("renormalise") != 0,
            static_cast<size_t>(s.op.integer("groups")),
            static_cast<size_t>(s.op.integer("groups_used")));
        for (size_t i = 0; i < used; ++i) {
            ids[r * used + i] = static_cast<float>(routes.experts[i]);
            shares[r * used + i] = routes.shares[i];
        }
    }
}

void experts(const Step& s) {
    const auto used = static_cast<size_t>(s.op.integer("used"));
    const int64_t hidden = s.width(s.op.outputs[0]);
    const auto width = static_cast<size_t>(s.width(s.op.inputs[0]));
    const int64_t inner = s.weight(2).cols();
    std::vector<float> gate(static_cast<size_t>(inner)), up(gate.size());
    std::vector<float> down(static_cast<size_t>(hidden));
    std::vector<double> sum(down.size());
    const std::vector<float> gate_scale =
        s.op.weights.size() > 3 ? reference::weight_vector(s.weight(3)) : std::vector<float>();
    const auto out = s.out(0);
    for (size_t r = 0; r < static_cast<size_t>(s.rows()); ++r) {
        const std::vector<float> x = s.factor(s.in(0).subspan(r * width, width), 0, 2);
        std::ranges::fill(sum, 0.0);
        for (size_t i = 0; i < used; ++i) {
            const auto expert = static_cast<int64_t>(s.in(1)[r * used + i]);
            reference::linear(s.weight(0), expert * inner, inner, x, gate);
            reference::linear(s.weight(1), expert * inner, inner, x, up);
            if (!gate_scale.empty())
                for (float& value : gate) value *= gate_scale[static_cast<size_t>(expert)];
            for (size_t k = 0; k < gate.size(); ++k)
                gate[k] = static_cast<float>(reference::silu(static_cast<double>(gate[k])) *
                                             static_cast<double>(up[k]));
            reference::linear(s.weight(2), expert * hidden, hidden, s.factor(gate, 2, 1), down);
            for (size_t k = 0; k < sum.size(); ++k)
                sum[k] += static_cast<double>(s.in(2)[r * used + i]) * static_cast<double>(down[k]);
        }
        std::ranges::transform(sum, out.begin() + static_cast<int64_t>(r) * hidden,
                               [](double v) { return static_cast<float>(v); });
    }
}

void scale_by_sigmoid(const Step& s) {
    const auto width = static_cast<size_t>(s.width(s.op.outputs[0]));
    const auto out = s.out(0);
    for (size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<float>(static_cast<double>(s.in(0)[i]) *
                                    reference::sigmoid(static_cast<double>(s.in(1)[i / width])));
}

void scale_shares(const Step& s) {
    const std::vector<float> scale = reference::weight_vector(s.weight(0));
    const auto ids = s.in(0), shares = s.in(1);
    const auto out = s.out(0);
    for (size_t i = 0; i < out.size(); ++i) out[i] = shares[i] * scale[static_cast<size_t>(ids[i])];
}

const ReferenceEngine::Register kMoeOps[] = {
    {"router", router},
    {"scale_shares", scale_shares},
    {"experts", experts},
    {"scale_by_sigmoid", scale_by_sigmoid},
};

}  // namespace
}  // namespace hetune
