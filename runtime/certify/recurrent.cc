// causal_conv and delta_net: results and the state that they leave.
#include <cmath>

#include "runtime/certify/certifier.h"
#include "runtime/certify/products.h"
#include "runtime/reference/primitives.h"

namespace hetune {
namespace {

constexpr double kRecurrent = 1e-3;  // carried along by the state, with the device's exponentials

void certify_conv(Trial& t) {
    const int64_t width = t.number("kWidth"), taps = t.number("kTaps");
    const auto x = t.put_floats("x", t.rows() * width);
    const auto w = t.weight_vector("w");
    const auto state = t.put_floats("state", (taps - 1) * width);
    t.out_floats("y", width);
    t.launch();
    std::vector<float> inputs = state;
    inputs.insert(inputs.end(), x.begin(), x.end());
    const auto y = t.get<float>("y"), after = t.get<float>("state");
    Comparison& comparison = t.compare("y", 2e-5);
    Comparison& compare_state = t.compare("state", kExact);
    for (const int64_t col : sample_of(width)) {
        for (int64_t row = 0; row < t.rows(); ++row) {
            double sum = 0;
            for (int64_t j = 0; j < taps; ++j)
                sum += static_cast<double>(w[static_cast<size_t>(col * taps + j)]) *
                       static_cast<double>(inputs[static_cast<size_t>((row + j) * width + col)]);
            comparison.add(col, static_cast<double>(y[static_cast<size_t>(row * width + col)]),
                           reference::silu(sum));
        }
        for (int64_t j = 0; j < taps - 1; ++j)
            compare_state.add(
                col, static_cast<double>(after[static_cast<size_t>(j * width + col)]),
                static_cast<double>(inputs[static_cast<size_t>((t.rows() + j) * width + col)]));
    }
}

void certify_delta_net(Trial& t) {
    const int64_t key_heads = t.number("kKeyHeads"), heads = t.number("kValueHeads");
    const int64_t key_size = t.number("kKeySize"), value_size = t.number("kValueSize");
    const int64_t keys = key_heads * key_size, channels = 2 * keys + heads * value_size;
    const int64_t head_state = key_size * value_size;
    const auto qkv = t.put_floats("qkv", t.rows() * channels);
    const auto a = t.put_floats("a", t.rows() * heads), b = t.put_floats("b", t.rows() * heads);
    const auto rate = t.weight_vector("ssm_a"), bias = t.weight_vector("dt_bias");
    auto state = t.put_floats("state", heads * head_state);
    t.out_floats("y", heads * value_size);
    t.launch();
    const auto y = t.get<float>("y"), after = t.get<float>("state");
    Comparison& comparison = t.compare("y", kRecurrent);
    Comparison& compare_state = t.compare("state", kRecurrent);
    for (const int64_t h : {int64_t{0}, heads / 3, heads * 2 / 3, heads - 1}) {
        const auto head = static_cast<size_t>(h);
        std::vector<float> own(row_of(state, h, head_state).begin(),
                               row_of(state, h, head_state).end());
        std::vector<float> wanted(static_cast<size_t>(value_size));
        for (int64_t row = 0; row < t.rows(); ++row) {
            const auto input = row_of(qkv, row, channels);
            const auto part = [&](int64_t first, int64_t size) {
                return input.subspan(static_cast<size_t>(first), static_cast<size_t>(size));
            };
            const int64_t key = h % key_heads * key_size;
            const auto at = static_cast<size_t>(row * heads) + head;
            reference::delta_rule(own, part(key, key_size), part(keys + key, key_size),
                                  part(2 * keys + h * value_size, value_size),
                                  static_cast<double>(rate[head]) *
                                      reference::softplus(static_cast<double>(a[at]) +
                                                          static_cast<double>(bias[head])),
                                  reference::sigmoid(static_cast<double>(b[at])), t.real("kEps"),
                                  wanted);
            for (int64_t d = 0; d < value_size; ++d)
                comparison.add(d,
                               static_cast<double>(row_of(y, static_cast<int64_t>(at),
                                                          value_size)[static_cast<size_t>(d)]),
                               static_cast<double>(wanted[static_cast<size_t>(d)]));
        }
        for (int64_t i = 0; i < head_state; ++i)
            compare_state.add(
                i % value_size,
                static_cast<double>(row_of(after, h, head_state)[static_cast<size_t>(i)]),
                static_cast<double>(own[static_cast<size_t>(i)]));
    }
}

const RegisterCertifier kConv{{"causal_conv"}, certify_conv};
const RegisterCertifier kDeltaNet{{"delta_net"}, certify_delta_net};

}  // namespace
}  // namespace hetune
