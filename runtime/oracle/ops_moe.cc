// Primitives of mixtures of experts. Expert numbers travel between ops as floats.
#include <algorithm>

#include "runtime/oracle/ops.h"
#include "runtime/oracle/primitives.h"

namespace hetune {

void run(const ops::Router& op, const OracleStep& s) {
    const auto experts = static_cast<size_t>(op.experts);
    const auto used = static_cast<size_t>(op.used);
    std::vector<float> logits(static_cast<size_t>(s.rows()) * experts);
    reference::linear(s.weight(op.weight), 0, static_cast<int64_t>(experts), s.in(op.x), logits);
    const auto ids = s.out(op.ids), shares = s.out(op.shares);
    for (size_t r = 0; r < static_cast<size_t>(s.rows()); ++r) {
        const reference::Routes routes =
            reference::route(std::span(logits).subspan(r * experts, experts), used, op.renormalise,
                             static_cast<size_t>(op.groups), static_cast<size_t>(op.groups_used));
        for (size_t i = 0; i < used; ++i) {
            ids[r * used + i] = static_cast<float>(routes.experts[i]);
            shares[r * used + i] = routes.shares[i];
        }
    }
}

void run(const ops::Experts& op, const OracleStep& s) {
    const auto used = static_cast<size_t>(op.used);
    const int64_t hidden = s.width(op.y);
    const auto width = static_cast<size_t>(s.width(op.x));
    const int64_t inner = s.weight(op.down).cols();
    std::vector<float> gate(static_cast<size_t>(inner)), up(gate.size());
    std::vector<float> down(static_cast<size_t>(hidden));
    std::vector<double> sum(down.size());
    const std::vector<float> gate_scale = op.gate_scale.empty()
                                              ? std::vector<float>()
                                              : reference::weight_vector(s.weight(op.gate_scale));
    const auto out = s.out(op.y);
    for (size_t r = 0; r < static_cast<size_t>(s.rows()); ++r) {
        const std::vector<float> x =
            s.factor(s.in(op.x).subspan(r * width, width), {op.gate, op.up});
        std::ranges::fill(sum, 0.0);
        for (size_t i = 0; i < used; ++i) {
            const auto expert = static_cast<int64_t>(s.in(op.ids)[r * used + i]);
            reference::linear(s.weight(op.gate), expert * inner, inner, x, gate);
            reference::linear(s.weight(op.up), expert * inner, inner, x, up);
            if (!gate_scale.empty())
                for (float& value : gate) value *= gate_scale[static_cast<size_t>(expert)];
            for (size_t k = 0; k < gate.size(); ++k)
                gate[k] = static_cast<float>(reference::silu(static_cast<double>(gate[k])) *
                                             static_cast<double>(up[k]));
            reference::linear(s.weight(op.down), expert * hidden, hidden, s.factor(gate, {op.down}),
                              down);
            for (size_t k = 0; k < sum.size(); ++k)
                sum[k] += static_cast<double>(s.in(op.shares)[r * used + i]) *
                          static_cast<double>(down[k]);
        }
        std::ranges::transform(sum, out.begin() + static_cast<int64_t>(r) * hidden,
                               [](double v) { return static_cast<float>(v); });
    }
}

void run(const ops::ScaleBySigmoid& op, const OracleStep& s) {
    const auto width = static_cast<size_t>(s.width(op.y));
    const auto out = s.out(op.y);
    for (size_t i = 0; i < out.size(); ++i)
        out[i] =
            static_cast<float>(static_cast<double>(s.in(op.x)[i]) *
                               reference::sigmoid(static_cast<double>(s.in(op.gate)[i / width])));
}

void run(const ops::ScaleShares& op, const OracleStep& s) {
    const std::vector<float> scale = reference::weight_vector(s.weight(op.factors));
    const auto ids = s.in(op.ids), shares = s.in(op.shares);
    const auto out = s.out(op.y);
    for (size_t i = 0; i < out.size(); ++i) out[i] = shares[i] * scale[static_cast<size_t>(ids[i])];
}

}  // namespace hetune
