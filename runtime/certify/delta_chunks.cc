// delta_net_prepare, delta_net_chunk and delta_net_matrix: the delta rule over chunks of tokens
// (kernel_templates/recurrent/delta_chunk.h has the formulas and the layout).
#include <algorithm>

#include "runtime/certify/certifier.h"
#include "runtime/certify/products.h"
#include "runtime/reference/primitives.h"

namespace hetune {
namespace {

constexpr double kRecurrent = 1e-3;

struct Chunks {
    explicit Chunks(const Trial& t)
        : heads(t.number("kValueHeads")),
          keys(t.number("kKeySize")),
          values(t.number("kValueSize")),
          tokens(t.number("kChunk")),
          count((t.rows() + tokens - 1) / tokens),
          all((t.full_rows() + tokens - 1) / tokens) {}
    int64_t heads, keys, values, tokens;
    int64_t count, all;  // chunks of the step, and at full rows

    int64_t floats() const { return tokens * (3 * keys + values + tokens) + 16; }

    // One head's chunk: moves its state [keys, values] on and gives the rows' results.
    std::vector<double> run(std::span<const float> c, std::vector<double>& state) const {
        const auto at = [&](int64_t i) { return static_cast<double>(c[static_cast<size_t>(i)]); };
        const int64_t q = tokens * keys, k = 2 * q, u = 3 * q, m = u + tokens * values,
                      decay = m + tokens * tokens;
        std::vector<double> d(static_cast<size_t>(tokens * values)), y(d.size());
        const auto s = [&](int64_t i, int64_t v) -> double& {
            return state[static_cast<size_t>(i * values + v)];
        };
        for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t v = 0; v < values; ++v)
                d[static_cast<size_t>(t * values + v)] = at(u + t * values + v);
            for (int64_t i = 0; i < keys; ++i) {
                const double w = at(t * keys + i), query = at(q + t * keys + i);
                for (int64_t v = 0; v < values; ++v) {
                    d[static_cast<size_t>(t * values + v)] -= w * s(i, v);
                    y[static_cast<size_t>(t * values + v)] += query * s(i, v);
                }
            }
        }
        for (int64_t t = 0; t < tokens; ++t)
            for (int64_t i = 0; i < tokens; ++i)
                for (int64_t v = 0; v < values; ++v)
                    y[static_cast<size_t>(t * values + v)] +=
                        at(m + t * tokens + i) * d[static_cast<size_t>(i * values + v)];
        for (int64_t i = 0; i < keys; ++i) {
            for (int64_t v = 0; v < values; ++v) s(i, v) *= at(decay);
            for (int64_t t = 0; t < tokens; ++t) {
                const double key = at(k + t * keys + i);
                for (int64_t v = 0; v < values; ++v)
                    s(i, v) += key * d[static_cast<size_t>(t * values + v)];
            }
        }
        return y;
    }
};

std::vector<int64_t> heads_to_try(int64_t heads) {
    if (heads == 1) return {0};
    return {0, heads - 1};
}

void certify_chunk(Trial& t) {
    const Chunks c(t);
    auto chunks = seeded_floats(static_cast<size_t>(c.all * c.heads * c.floats()), t.random());
    // So that nothing grows from chunk to chunk.
    for (float& value : chunks) value *= 1.0f / static_cast<float>(c.keys);
    t.put("chunks", chunks);
    const auto state = t.put_floats("state", c.heads * c.keys * c.values);
    t.out_floats("y", c.heads * c.values);
    t.launch();
    const auto y = t.get<float>("y"), after = t.get<float>("state");
    Comparison& comparison = t.compare("y", kRecurrent);
    Comparison& compare_state = t.compare("state", kRecurrent);
    for (const int64_t h : heads_to_try(c.heads)) {
        const auto before = row_of(state, h, c.keys * c.values);
        std::vector<double> own(before.begin(), before.end());
        for (int64_t n = 0; n < c.count; ++n) {
            const auto wanted = c.run(row_of(chunks, n * c.heads + h, c.floats()), own);
            for (int64_t row = n * c.tokens; row < std::min((n + 1) * c.tokens, t.rows()); ++row)
                for (int64_t v = 0; v < c.values; ++v)
                    comparison.add(
                        v,
                        static_cast<double>(
                            row_of(y, row * c.heads + h, c.values)[static_cast<size_t>(v)]),
                        wanted[static_cast<size_t>((row - n * c.tokens) * c.values + v)]);
        }
        for (int64_t i = 0; i < c.keys * c.values; ++i)
            compare_state.add(
                i % c.values,
                static_cast<double>(row_of(after, h, c.keys * c.values)[static_cast<size_t>(i)]),
                own[static_cast<size_t>(i)]);
    }
}

// What it leaves for the next kernel, run through the formulas, gives what the delta rule gives
// token by token.
void certify_prepare(Trial& t) {
    const Chunks c(t);
    const int64_t key_heads = t.number("kKeyHeads"), keys = key_heads * c.keys;
    const int64_t channels = 2 * keys + c.heads * c.values;
    const auto qkv = t.put_floats("qkv", t.rows() * channels);
    const auto a = t.put_floats("a", t.rows() * c.heads), b = t.put_floats("b", t.rows() * c.heads);
    const auto rate = t.weight_vector("ssm_a", -2.0f, -0.05f), bias = t.weight_vector("dt_bias");
    t.scratch("chunks", c.all * c.heads * c.floats() * 4);
    t.launch();
    const auto chunks = t.get<float>("chunks");
    Comparison& comparison = t.compare("chunks, run", kRecurrent);
    for (const int64_t h : heads_to_try(c.heads)) {
        const auto head = static_cast<size_t>(h);
        std::vector<float> exact =
            seeded_floats(static_cast<size_t>(c.keys * c.values), t.random());
        std::vector<double> own(exact.begin(), exact.end());
        std::vector<float> wanted(static_cast<size_t>(c.values));
        for (int64_t n = 0; n < c.count; ++n) {
            const auto got = c.run(row_of(chunks, n * c.heads + h, c.floats()), own);
            for (int64_t row = n * c.tokens; row < std::min((n + 1) * c.tokens, t.rows()); ++row) {
                const auto input = row_of(qkv, row, channels);
                const auto part = [&](int64_t first, int64_t size) {
                    return input.subspan(static_cast<size_t>(first), static_cast<size_t>(size));
                };
                const int64_t key = h % key_heads * c.keys;
                const auto at = static_cast<size_t>(row * c.heads) + head;
                reference::delta_rule(exact, part(key, c.keys), part(keys + key, c.keys),
                                      part(2 * keys + h * c.values, c.values),
                                      static_cast<double>(rate[head]) *
                                          reference::softplus(static_cast<double>(a[at]) +
                                                              static_cast<double>(bias[head])),
                                      reference::sigmoid(static_cast<double>(b[at])),
                                      t.real("kEps"), wanted);
                for (int64_t v = 0; v < c.values; ++v)
                    comparison.add(v, got[static_cast<size_t>((row - n * c.tokens) * c.values + v)],
                                   static_cast<double>(wanted[static_cast<size_t>(v)]));
            }
        }
    }
}

const RegisterCertifier kPrepare{{"delta_net_prepare"}, certify_prepare};
const RegisterCertifier kChunk{{"delta_net_chunk", "delta_net_matrix"}, certify_chunk};

}  // namespace
}  // namespace hetune
