// Primitives of dense decoders.
#include <algorithm>

#include "runtime/oracle/ops.h"
#include "runtime/oracle/primitives.h"

namespace hetune {

void run(const ops::Embed& op, const OracleStep& s) {
    const auto out = s.out(op.y);
    for (size_t r = 0; r < s.tokens.size(); ++r)
        std::ranges::copy(reference::weight_row(s.weight(op.table), s.tokens[r]),
                          out.begin() + static_cast<int64_t>(r) * s.width(op.y));
}

void run(const ops::RmsNorm& op, const OracleStep& s) {
    const auto width = static_cast<size_t>(s.width(op.x));
    const std::vector<float> weight = reference::weight_vector(s.weight(op.weight));
    const auto out = s.out(op.y);
    for (size_t r = 0; r < s.tokens.size(); ++r)
        reference::rmsnorm(s.in(op.x).subspan(r * width, width), weight, op.eps,
                           out.subspan(r * width, width));
}

void run(const ops::Linear& op, const OracleStep& s) {
    const int64_t width = s.width(op.y);
    const auto out = s.out(op.y);
    reference::linear(s.weight(op.weight), 0, width, s.factor(s.in(op.x), {op.weight}), out);
    if (op.bias.empty()) return;
    const std::vector<float> bias = reference::weight_vector(s.weight(op.bias));
    for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i % static_cast<size_t>(width)];
}

void run(const ops::Scale& op, const OracleStep& s) {
    const auto width = static_cast<size_t>(s.width(op.y));
    const float factor = reference::weight_vector(s.weight(op.factor))[0];
    const std::vector<float> bias =
        op.bias.empty() ? std::vector<float>(width) : reference::weight_vector(s.weight(op.bias));
    const auto out = s.out(op.y);
    for (size_t i = 0; i < out.size(); ++i) out[i] = s.in(op.x)[i] * factor + bias[i % width];
}

namespace {

template <class F>
void binary(const OracleStep& s, ValueId a, ValueId b, ValueId y, F f) {
    const auto out = s.out(y);
    for (size_t i = 0; i < out.size(); ++i)
        out[i] =
            static_cast<float>(f(static_cast<double>(s.in(a)[i]), static_cast<double>(s.in(b)[i])));
}

}  // namespace

void run(const ops::Add& op, const OracleStep& s) {
    binary(s, op.a, op.b, op.y, [](double a, double b) { return a + b; });
}
void run(const ops::SiluMul& op, const OracleStep& s) {
    binary(s, op.gate, op.up, op.y, [](double g, double u) { return reference::silu(g) * u; });
}
void run(const ops::SigmoidMul& op, const OracleStep& s) {
    binary(s, op.x, op.gate, op.y, [](double x, double g) { return x * reference::sigmoid(g); });
}
void run(const ops::LastRow& op, const OracleStep& s) {
    std::ranges::copy(s.in(op.x), s.out(op.y).begin());
}

void run(const ops::HeadRmsNorm& op, const OracleStep& s) {
    const auto size = static_cast<size_t>(op.head_size);
    const std::vector<float> weight = reference::weight_vector(s.weight(op.weight));
    const auto out = s.out(op.y);
    for (size_t at = 0; at < out.size(); at += size)
        reference::rmsnorm(s.in(op.x).subspan(at, size), weight, op.eps, out.subspan(at, size));
}

void run(const ops::Rope& op, const OracleStep& s) {
    const auto size = static_cast<size_t>(op.head_size);
    const auto width = static_cast<size_t>(s.width(op.x));
    const auto out = s.out(op.y);
    std::ranges::copy(s.in(op.x), out.begin());
    for (size_t at = 0; at < out.size(); at += width)
        reference::rope(out.subspan(at, width), size, s.graph.rope_turns, s.graph.rope_magnitude,
                        s.position + static_cast<int64_t>(at / width), op.interleaved);
}

void run(const ops::Attention& op, const OracleStep& s) {
    const int64_t heads = op.heads;
    const int64_t kv_heads = op.kv_heads;
    const int64_t size = op.head_size;
    const int64_t stride = kv_heads * size;
    const std::string layer = std::to_string(op.kv);
    auto& k = s.state["k" + layer];
    auto& v = s.state["v" + layer];
    k.resize(static_cast<size_t>(s.position * stride));
    v.resize(static_cast<size_t>(s.position * stride));
    k.insert(k.end(), s.in(op.k).begin(), s.in(op.k).end());
    v.insert(v.end(), s.in(op.v).begin(), s.in(op.v).end());
    for (auto* cache : {&k, &v})
        reference::round_to_kv(std::span(*cache).subspan(static_cast<size_t>(s.position * stride)),
                               s.rounding.kv, static_cast<size_t>(size));
    const auto q = s.in(op.q);
    const auto out = s.out(op.y);
#pragma omp parallel for
    for (int64_t i = 0; i < s.rows() * heads; ++i) {
        const int64_t kv = i % heads / (heads / kv_heads) * size;
        reference::attend(q.subspan(static_cast<size_t>(i * size), static_cast<size_t>(size)),
                          k.data() + kv, v.data() + kv, stride, s.position + i / heads + 1,
                          op.scale,
                          out.subspan(static_cast<size_t>(i * size), static_cast<size_t>(size)));
    }
}

}  // namespace hetune
