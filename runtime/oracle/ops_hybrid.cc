// Primitives of gated delta net layers and of gated attention. States live in Step::state.
#include <algorithm>
#include <cmath>

#include "runtime/oracle/primitives.h"
#include "runtime/oracle/reference_engine.h"

namespace hetune {
namespace {

using Step = ReferenceEngine::Step;

std::vector<float>& state_of(const Step& s, const char* which, int64_t size) {
    auto& state = s.state[which + std::to_string(s.op.integer("state"))];
    state.resize(static_cast<size_t>(size));
    return state;
}

void split_heads(const Step& s) {
    const int64_t size = s.op.integer("head_size");
    const int64_t heads = s.rows() * s.op.integer("heads");
    const auto x = s.in(0).data();
    for (int64_t h = 0; h < heads; ++h)
        for (size_t part = 0; part < 2; ++part)
            std::copy_n(x + (2 * h + static_cast<int64_t>(part)) * size, size,
                        s.out(part).data() + h * size);
}

// The state is the last taps - 1 inputs, oldest first.
void causal_conv(const Step& s) {
    const int64_t taps = s.op.integer("taps");
    const int64_t width = s.width(s.op.inputs[0]);
    auto& state = state_of(s, "conv", (taps - 1) * width);
    std::vector<float> inputs = state;
    inputs.insert(inputs.end(), s.in(0).begin(), s.in(0).end());
    const auto out = s.out(0);
    for (int64_t c = 0; c < width; ++c) {
        const std::vector<float> w = reference::weight_row(s.weight(0), c);
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

void delta_net(const Step& s) {
    const int64_t key_heads = s.op.integer("key_heads"), heads = s.op.integer("value_heads");
    const auto key_size = static_cast<size_t>(s.op.integer("key_size"));
    const auto value_size = static_cast<size_t>(s.op.integer("value_size"));
    const int64_t keys = key_heads * static_cast<int64_t>(key_size);
    const int64_t channels = s.width(s.op.inputs[0]);
    const size_t head_state = key_size * value_size;
    auto& state = state_of(s, "delta", heads * static_cast<int64_t>(head_state));
    const std::vector<float> ssm_a = reference::weight_vector(s.weight(0));
    const std::vector<float> dt_bias = reference::weight_vector(s.weight(1));
    const auto out = s.out(0);
#pragma omp parallel for
    for (int64_t h = 0; h < heads; ++h)
        for (int64_t r = 0; r < s.rows(); ++r) {
            const auto row = s.in(0).subspan(static_cast<size_t>(r * channels));
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
                                      reference::softplus(static_cast<double>(s.in(1)[at]) +
                                                          static_cast<double>(dt_bias[head])),
                                  reference::sigmoid(static_cast<double>(s.in(2)[at])),
                                  s.op.attribute("eps"), out.subspan(at * value_size, value_size));
        }
}

void gated_rmsnorm(const Step& s) {
    const auto size = static_cast<size_t>(s.op.integer("head_size"));
    const std::vector<float> weight = reference::weight_vector(s.weight(0));
    const auto out = s.out(0);
    for (size_t at = 0; at < out.size(); at += size)
        reference::rmsnorm(s.in(0).subspan(at, size), weight, s.op.attribute("eps"),
                           out.subspan(at, size));
    for (size_t i = 0; i < out.size(); ++i)
        out[i] = static_cast<float>(static_cast<double>(out[i]) *
                                    reference::silu(static_cast<double>(s.in(1)[i])));
}

const ReferenceEngine::Register kHybridOps[] = {
    {"split_heads", split_heads},
    {"causal_conv", causal_conv},
    {"delta_net", delta_net},
    {"gated_rmsnorm", gated_rmsnorm},
};

}  // namespace
}  // namespace hetune
