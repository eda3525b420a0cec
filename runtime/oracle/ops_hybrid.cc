// Primitives of gated delta net layers and of gated attention. States live in OracleStep::state.
#include <algorithm>
#include <cmath>

#include "runtime/oracle/ops.h"
#include "runtime/oracle/primitives.h"

namespace hetune {
namespace {

std::vector<float>& state_of(const OracleStep& s, const char* which, int number, int64_t size) {
    auto& state = s.state[which + std::to_string(number)];
    state.resize(static_cast<size_t>(size));
    return state;
}

}  // namespace

void run(const ops::SplitHeads& op, const OracleStep& s) {
    const int64_t size = op.head_size;
    const int64_t heads = s.rows() * op.heads;
    const auto x = s.in(op.x).data();
    for (int64_t h = 0; h < heads; ++h)
        for (size_t part = 0; part < 2; ++part)
            std::copy_n(x + (2 * h + static_cast<int64_t>(part)) * size, size,
                        s.out(part == 0 ? op.a : op.b).data() + h * size);
}

// The state is the last taps - 1 inputs, oldest first.
void run(const ops::CausalConv& op, const OracleStep& s) {
    const int64_t taps = op.taps;
    const int64_t width = s.width(op.x);
    auto& state = state_of(s, "conv", op.state, (taps - 1) * width);
    std::vector<float> inputs = state;
    inputs.insert(inputs.end(), s.in(op.x).begin(), s.in(op.x).end());
    const auto out = s.out(op.y);
    for (int64_t c = 0; c < width; ++c) {
        const std::vector<float> w = reference::weight_row(s.weight(op.weight), c);
        for (int64_t r = 0; r < s.rows(); ++r) {
            double sum = 0;
            for (int64_t j = 0; j < taps; ++j)
                sum += static_cast<double>(w[static_cast<size_t>(j)]) *
                       static_cast<double>(inputs[static_cast<size_t>((r + j) * width + c)]);
            out[static_cast<size_t>(r * width + c)] = static_cast<float>(reference::silu(sum));
        }
    }
    state.assign(inputs.end() - (taps - 1) * width, inputs.end());
}

void run(const ops::DeltaNet& op, const OracleStep& s) {
    const int64_t key_heads = op.key_heads, heads = op.value_heads;
    const auto key_size = static_cast<size_t>(op.key_size);
    const auto value_size = static_cast<size_t>(op.value_size);
    const int64_t keys = key_heads * static_cast<int64_t>(key_size);
    const int64_t channels = s.width(op.qkv);
    const size_t head_state = key_size * value_size;
    auto& state = state_of(s, "delta", op.state, heads * static_cast<int64_t>(head_state));
    const std::vector<float> ssm_a = reference::weight_vector(s.weight(op.ssm_a));
    const std::vector<float> dt_bias = reference::weight_vector(s.weight(op.dt_bias));
    const auto out = s.out(op.y);
#pragma omp parallel for
    for (int64_t h = 0; h < heads; ++h)
        for (int64_t r = 0; r < s.rows(); ++r) {
            const auto row = s.in(op.qkv).subspan(static_cast<size_t>(r * channels));
            const auto q = row.subspan(static_cast<size_t>(h % key_heads) * key_size, key_size);
            const auto k = row.subspan(
                static_cast<size_t>(keys) + static_cast<size_t>(h % key_heads) * key_size,
                key_size);
            const auto v = row.subspan(
                static_cast<size_t>(2 * keys) + static_cast<size_t>(h) * value_size, value_size);
            const auto at = static_cast<size_t>(r * heads + h);
            const auto head = static_cast<size_t>(h);
            reference::delta_rule(std::span(state).subspan(head * head_state, head_state), q, k, v,
                                  static_cast<double>(ssm_a[head]) *
                                      reference::softplus(static_cast<double>(s.in(op.a)[at]) +
                                                          static_cast<double>(dt_bias[head])),
                                  reference::sigmoid(static_cast<double>(s.in(op.b)[at])), op.eps,
                                  out.subspan(at * value_size, value_size));
        }
}

void run(const ops::GatedRmsNorm& op, const OracleStep& s) {
    const auto size = static_cast<size_t>(op.head_size);
    const std::vector<float> weight = reference::weight_vector(s.weight(op.weight));
    const auto out = s.out(op.y);
    for (size_t at = 0; at < out.size(); at += size)
        reference::rmsnorm(s.in(op.x).subspan(at, size), weight, op.eps, out.subspan(at, size));
    for (size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<float>(static_cast<double>(out[i]) *
                                    reference::silu(static_cast<double>(s.in(op.gate)[i])));
}

}  // namespace hetune
