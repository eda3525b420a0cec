// Primitives of dense decoders.
#include <algorithm>

#include "runtime/oracle/primitives.h"
#include "runtime/oracle/reference_engine.h"

namespace hetune {
namespace {

using Step = ReferenceEngine::Step;

void embed(const Step& s) {
    const auto out = s.out(0);
    for (size_t r = 0; r < s.tokens.size(); ++r)
        std::ranges::copy(reference::weight_row(s.weight(0), s.tokens[r]),
                          out.begin() + static_cast<int64_t>(r) * s.width(s.op.outputs[0]));
}

void rmsnorm(const Step& s) {
    const auto width = static_cast<size_t>(s.width(s.op.inputs[0]));
    const std::vector<float> weight = reference::weight_vector(s.weight(0));
    const auto out = s.out(0);
    for (size_t r = 0; r < s.tokens.size(); ++r)
        reference::rmsnorm(s.in(0).subspan(r * width, width), weight, s.op.attribute("eps"),
                           out.subspan(r * width, width));
}

void linear(const Step& s) {
    const int64_t width = s.width(s.op.outputs[0]);
    const auto out = s.out(0);
    reference::linear(s.weight(0), 0, width, s.factor(s.in(0), 0, 1), out);
    if (s.op.weights.size() < 2) return;
    const std::vector<float> bias = reference::weight_vector(s.weight(1));
    for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i % static_cast<size_t>(width)];
}

void scale(const Step& s) {
    const auto width = static_cast<size_t>(s.width(s.op.outputs[0]));
    const float factor = reference::weight_vector(s.weight(0))[0];
    const std::vector<float> bias =
        s.op.weights.size() > 1 ? reference::weight_vector(s.weight(1)) : std::vector<float>(width);
    const auto out = s.out(0);
    for (size_t i = 0; i < out.size(); ++i) out[i] = s.in(0)[i] * factor + bias[i % width];
}

template <class F>
void binary(const Step& s, F f) {
    const auto out = s.out(0);
    for (size_t i = 0; i < out.size(); ++i)
        out[i] =
            static_cast<float>(f(static_cast<double>(s.in(0)[i]), static_cast<double>(s.in(1)[i])));
}

void head_rmsnorm(const Step& s) {
    const auto size = static_cast<size_t>(s.op.integer("head_size"));
    const std::vector<float> weight = reference::weight_vector(s.weight(0));
    const auto out = s.out(0);
    for (size_t at = 0; at < out.size(); at += size)
        reference::rmsnorm(s.in(0).subspan(at, size), weight, s.op.attribute("eps"),
                           out.subspan(at, size));
}

void rope(const Step& s) {
    const auto size = static_cast<size_t>(s.op.integer("head_size"));
    const auto width = static_cast<size_t>(s.width(s.op.inputs[0]));
    const auto out = s.out(0);
    std::ranges::copy(s.in(0), out.begin());
    for (size_t at = 0; at < out.size(); at += width)
        reference::rope(out.subspan(at, width), size, s.graph.rope_turns, s.graph.rope_magnitude,
                        s.position + static_cast<int64_t>(at / width),
                        s.op.integer("interleaved") != 0);
}

void attention(const Step& s) {
    const int64_t heads = s.op.integer("heads");
    const int64_t kv_heads = s.op.integer("kv_heads");
    const int64_t size = s.op.integer("head_size");
    const int64_t stride = kv_heads * size;
    const std::string layer = std::to_string(s.op.integer("kv"));
    auto& k = s.state["k" + layer];
    auto& v = s.state["v" + layer];
    k.resize(static_cast<size_t>(s.position * stride));
    v.resize(static_cast<size_t>(s.position * stride));
    k.insert(k.end(), s.in(1).begin(), s.in(1).end());
    v.insert(v.end(), s.in(2).begin(), s.in(2).end());
    for (auto* cache : {&k, &v})
        reference::round_to_kv(std::span(*cache).subspan(static_cast<size_t>(s.position * stride)),
                               s.rounding.kv, static_cast<size_t>(size));
    const auto q = s.in(0);
    const auto out = s.out(0);
#pragma omp parallel for
    for (int64_t i = 0; i < s.rows() * heads; ++i) {
        const int64_t kv = i % heads / (heads / kv_heads) * size;
        reference::attend(q.subspan(static_cast<size_t>(i * size), static_cast<size_t>(size)),
                          k.data() + kv, v.data() + kv, stride, s.position + i / heads + 1,
                          s.op.attribute("scale"),
                          out.subspan(static_cast<size_t>(i * size), static_cast<size_t>(size)));
    }
}

const ReferenceEngine::Register kDenseOps[] = {
    {"embed", embed},
    {"rmsnorm", rmsnorm},
    {"linear", linear},
    {"scale", scale},
    {"add", [](const Step& s) { binary(s, [](double a, double b) { return a + b; }); }},
    {"silu_mul",
     [](const Step& s) { binary(s, [](double a, double b) { return reference::silu(a) * b; }); }},
    {"sigmoid_mul",
     [](const Step& s) {
         binary(s, [](double a, double b) { return a * reference::sigmoid(b); });
     }},
    {"head_rmsnorm", head_rmsnorm},
    {"rope", rope},
    {"attention", attention},
    {"last_row", [](const Step& s) { std::ranges::copy(s.in(0), s.out(0).begin()); }},
};

}  // namespace
}  // namespace hetune
