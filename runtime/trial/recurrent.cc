// causal_conv and delta_net: results and the state that they leave.
#include <algorithm>
#include <cmath>

#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"
#include "runtime/trial/slots.h"

namespace hetune {
namespace {

constexpr double kRecurrent = 1e-3;  // carried along by the state, with the device's exponentials

constexpr int64_t kPosition = 22;  // somewhere in the ring, with more rows before than any has taps

struct Ring {
    int64_t taps, width;
    int64_t position = kPosition;  // of the step's first row
};

// The convolution of one channel at one row. The ring holds the inputs of the positions before.
double convolved(std::span<const float> x, std::span<const float> w, std::span<const float> ring,
                 const Ring& of, int64_t row, int64_t col) {
    const auto [taps, width, position] = of;
    double sum = 0;
    for (int64_t j = 0; j < taps; ++j) {
        const int64_t from = row - taps + 1 + j;  // of this step, or before it
        const float input =
            from >= 0 ? x[static_cast<size_t>(from * width + col)]
                      : ring[static_cast<size_t>((position + taps + from) % taps * width + col)];
        sum += static_cast<double>(w[static_cast<size_t>(col * taps + j)]) *
               static_cast<double>(input);
    }
    return reference::silu(sum);
}

// Behind `rows` rows: the last inputs of each place, and what was there where none came by.
void compare_ring(Comparison& comparison, std::span<const float> after, std::span<const float> x,
                  std::span<const float> ring, const Ring& of, int64_t rows) {
    const auto [taps, width, position] = of;
    for (int64_t place = 0; place < taps; ++place)
        for (int64_t col = 0; col < width; ++col) {
            float wanted = ring[static_cast<size_t>(place * width + col)];
            for (int64_t row = 0; row < rows; ++row)
                if ((position + row) % taps == place)
                    wanted = x[static_cast<size_t>(row * width + col)];
            comparison.add(col,
                           static_cast<double>(after[static_cast<size_t>(place * width + col)]),
                           static_cast<double>(wanted));
        }
}

void certify_conv(Trial& t) {
    const int64_t width = t.number("kWidth"), taps = t.number("kTaps");
    const auto x = t.put_floats("x", t.rows() * width);
    const auto w = t.weight_vector("w");
    const StepPlaces places(t, kPosition);
    std::vector<std::vector<float>> rings;
    for (size_t i = 0; i < places.parts.size(); ++i)
        rings.push_back(seeded_floats(static_cast<size_t>(taps * width), t.random()));
    const int64_t stride = SlotStates::stride_for(taps * width);
    SlotStates states(t, "state", rings, stride);
    t.set_rows(places.rows(), 0, stride);
    t.out_floats("y", width);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", 2e-5);
    Comparison& compare_state = t.compare("state", kExact);
    for (const auto& [begin, end, position, sequence] : places.parts) {
        const auto own = std::span(x).subspan(static_cast<size_t>(begin * width));
        const Ring ring{taps, width, position};
        for (int64_t col = 0; col < width; ++col)
            for (int64_t row = begin; row < end; ++row)
                comparison.add(col, static_cast<double>(y[static_cast<size_t>(row * width + col)]),
                               convolved(own, w, rings[sequence], ring, row - begin, col));
        compare_ring(compare_state, states.read(sequence), own, rings[sequence], ring, end - begin);
    }
}

// Columns of values and state repeat, so that the oracle has few of each head to compute.
void certify_delta_net(Trial& t) {
    const int64_t key_heads = t.number("kKeyHeads"), heads = t.number("kValueHeads");
    const int64_t key_size = t.number("kKeySize"), value_size = t.number("kValueSize");
    const int64_t keys = key_heads * key_size, values = heads * value_size,
                  channels = 2 * keys + values;
    auto qkv = seeded_floats(static_cast<size_t>(t.rows() * channels), t.random());
    const StepPlaces places(t, kPosition);
    std::vector<std::vector<float>> state;
    for (size_t i = 0; i < places.parts.size(); ++i) {
        state.push_back(seeded_floats(static_cast<size_t>(values * key_size), t.random()));
        repeat_columns(state.back(), value_size);
    }
    for (int64_t row = 0; row < t.rows(); ++row)
        repeat_columns(std::span(qkv).subspan(static_cast<size_t>(row * channels + 2 * keys),
                                              static_cast<size_t>(values)),
                       value_size);
    t.put("qkv", qkv);
    const int64_t stride = SlotStates::stride_for(values * key_size);
    SlotStates states(t, "state", state, stride);
    t.set_rows(places.rows(), 0, stride);
    const auto a = t.put_floats("a", t.rows() * heads), b = t.put_floats("b", t.rows() * heads);
    const auto rate = t.weight_vector("ssm_a", -2.0f, -0.05f), bias = t.weight_vector("dt_bias");
    t.out_floats("y", values);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kRecurrent);
    Comparison& compare_state = t.compare("state", kRecurrent);
    const int64_t columns = std::min(value_size, kDistinctColumns);
    std::vector<float> row_values(static_cast<size_t>(value_size));
    const auto compare_columns = [&](Comparison& to, std::span<const float> got,
                                     std::span<const float> wanted) {
        std::ranges::copy(wanted, row_values.begin());
        repeat_columns(row_values, value_size);
        to.add_all(0, got, row_values);
    };
    const auto compare_head = [&](const StepPlaces::Part& of, int64_t h) {
        const auto head = static_cast<size_t>(h);
        std::vector<float> own =
            distinct_columns(row_of(state[of.sequence], h, key_size * value_size), value_size);
        std::vector<float> wanted(static_cast<size_t>(columns));
        for (int64_t row = of.begin; row < of.end; ++row) {
            const auto input = row_of(qkv, row, channels);
            const auto part = [&](int64_t first, int64_t size) {
                return input.subspan(static_cast<size_t>(first), static_cast<size_t>(size));
            };
            const int64_t key = h % key_heads * key_size;
            const auto at = static_cast<size_t>(row * heads) + head;
            reference::delta_rule(own, part(key, key_size), part(keys + key, key_size),
                                  part(2 * keys + h * value_size, columns),
                                  static_cast<double>(rate[head]) *
                                      reference::softplus(static_cast<double>(a[at]) +
                                                          static_cast<double>(bias[head])),
                                  reference::sigmoid(static_cast<double>(b[at])), t.real("kEps"),
                                  wanted);
            compare_columns(comparison, row_of(y, static_cast<int64_t>(at), value_size), wanted);
        }
        const auto after = states.read(of.sequence);
        for (int64_t i = 0; i < key_size; ++i)
            compare_columns(compare_state, row_of(after, h * key_size + i, value_size),
                            row_of(own, i, columns));
    };
    for (const StepPlaces::Part& part : places.parts)
        for (int64_t h = 0; h < heads; ++h) compare_head(part, h);
}

// causal_conv, delta_net and gated_rmsnorm in one launch; each row is of a sequence of its own.
void certify_delta_step(Trial& t) {
    const int64_t key_heads = t.number("kKeyHeads"), heads = t.number("kValueHeads"),
                  taps = t.number("kTaps");
    const int64_t key_size = t.number("kKeySize"), value_size = t.number("kValueSize");
    const int64_t keys = key_heads * key_size, width = 2 * keys + heads * value_size;
    const int64_t head_state = key_size * value_size, rows = t.rows();
    const auto qkv = t.put_floats("qkv", rows * width), a = t.put_floats("a", rows * heads),
               b = t.put_floats("b", rows * heads);
    const auto z = t.put_floats("z", rows * heads * value_size);
    std::vector<std::vector<float>> rings, states;
    std::vector<TrialRow> places;
    const StepPlaces ends(t, 0);  // which row has ended
    for (int64_t row = 0; row < rows; ++row) {
        rings.push_back(seeded_floats(static_cast<size_t>(taps * width), t.random()));
        states.push_back(seeded_floats(static_cast<size_t>(heads * head_state), t.random()));
        const auto r = static_cast<size_t>(row);
        places.push_back({ends.has_ended(r) ? kEndedRow : kPosition + 5 * row,
                          trial_slot(static_cast<size_t>(rows), r)});
    }
    const int64_t stride = SlotStates::stride_for(std::max(taps * width, heads * head_state));
    SlotStates ring_slots(t, "ring", rings, stride), state_slots(t, "state", states, stride);
    t.set_rows(places, 0, stride);
    const auto conv = t.weight_vector("conv"), rate = t.weight_vector("ssm_a", -2.0f, -0.05f),
               bias = t.weight_vector("dt_bias"), norm = t.weight_vector("norm");
    TileOutput y(t, "y", heads * value_size, t.flag("kQuantisedOutput"), kRecurrent);
    t.launch();
    y.read();
    Comparison& compare_state = t.compare("state", kRecurrent);
    for (int64_t row = 0; row < rows; ++row) {
        const auto r = static_cast<size_t>(row);
        const auto input = row_of(qkv, row, width);
        const int64_t position = places[r].position;
        if (ends.has_ended(r)) {
            t.same("ring of an ended row", row, std::ranges::equal(ring_slots.read(r), rings[r]),
                   1);
            t.same("state of an ended row", row, std::ranges::equal(state_slots.read(r), states[r]),
                   1);
            continue;
        }
        compare_ring(t.compare("ring", kExact), ring_slots.read(r), input, rings[r],
                     {taps, width, position}, 1);
        std::vector<float> inputs;
        for (int64_t col = 0; col < width; ++col)
            inputs.push_back(static_cast<float>(
                convolved(input, conv, rings[r], {taps, width, position}, 0, col)));
        const std::span<const float> all(inputs);
        const auto after = state_slots.read(r);
        std::vector<float> wanted;
        for (int64_t h = 0; h < heads; ++h) {
            const auto head = static_cast<size_t>(h);
            const auto at = static_cast<size_t>(row * heads + h);
            const auto part = [&](int64_t first, int64_t size) {
                return all.subspan(static_cast<size_t>(first), static_cast<size_t>(size));
            };
            const auto before = row_of(states[r], h, head_state);
            std::vector<float> own(before.begin(), before.end()),
                value(static_cast<size_t>(value_size));
            const int64_t key = h % key_heads * key_size;
            reference::delta_rule(own, part(key, key_size), part(keys + key, key_size),
                                  part(2 * keys + h * value_size, value_size),
                                  static_cast<double>(rate[head]) *
                                      reference::softplus(static_cast<double>(a[at]) +
                                                          static_cast<double>(bias[head])),
                                  reference::sigmoid(static_cast<double>(b[at])), t.real("kEps"),
                                  value);
            for (int64_t i = 0; i < head_state; ++i)
                compare_state.add(
                    i % value_size,
                    static_cast<double>(row_of(after, h, head_state)[static_cast<size_t>(i)]),
                    static_cast<double>(own[static_cast<size_t>(i)]));
            std::vector<float> normed(value.size());
            reference::rmsnorm(value, norm, t.real("kNormEps"), normed);
            const auto gates = row_of(z, row * heads + h, value_size);
            for (size_t d = 0; d < normed.size(); ++d)
                wanted.push_back(
                    static_cast<float>(static_cast<double>(normed[d]) *
                                       reference::silu(static_cast<double>(gates[d]))));
        }
        y.compare_row(row, wanted);
    }
}

}  // namespace

Certifiers certifiers(const ops::CausalConv&) {
    static const Certifier list[] = {{"causal_conv", certify_conv, 2}};
    return list;
}
Certifiers certifiers(const ops::DeltaNet&) {
    static const Certifier list[] = {{"delta_net", certify_delta_net, 2},
                                     kDeltaNetPrepareCertifier,
                                     kDeltaNetChunkCertifier,
                                     kDeltaNetMatrixCertifier};
    return list;
}
Certifiers certifiers(const ops::DeltaStep&) {
    static const Certifier list[] = {{"delta_step", certify_delta_step, 4}};
    return list;
}

}  // namespace hetune
