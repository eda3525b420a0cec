// delta_net_prepare, delta_net_chunk and delta_net_matrix: the delta rule over chunks of tokens
// (kernel_templates/recurrent/delta_chunk.h has the formulas and the layout).
#include <algorithm>

#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"
#include "runtime/trial/slots.h"

namespace hetune {
namespace {

constexpr double kRecurrent = 1e-3;

struct Chunks {
    explicit Chunks(const Trial& t)
        : heads(t.number("kValueHeads")),
          keys(t.number("kKeySize")),
          values(t.number("kValueSize")),
          columns(std::min(values, kDistinctColumns)),
          tokens(t.number("kChunk")),
          count((t.rows() + tokens - 1) / tokens),
          all((t.full_rows() + tokens - 1) / tokens) {}
    int64_t heads, keys, values;
    int64_t columns;  // of the values and the state that differ: all that is computed
    int64_t tokens;
    int64_t count, all;  // chunks of the step, and at full rows

    int64_t floats() const { return tokens * (3 * keys + values + tokens) + 16; }

    // One head's chunk: moves its state [keys, columns] on and gives the rows' results.
    std::vector<double> run(std::span<const float> c, std::vector<double>& state) const {
        const auto at = [&](int64_t i) { return static_cast<double>(c[static_cast<size_t>(i)]); };
        const int64_t q = tokens * keys, k = 2 * q, u = 3 * q, m = u + tokens * values,
                      decay = m + tokens * tokens;
        std::vector<double> d(static_cast<size_t>(tokens * columns)), y(d.size());
        const auto s = [&](int64_t i, int64_t v) -> double& {
            return state[static_cast<size_t>(i * columns + v)];
        };
        for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t v = 0; v < columns; ++v)
                d[static_cast<size_t>(t * columns + v)] = at(u + t * values + v);
            for (int64_t i = 0; i < keys; ++i) {
                const double w = at(t * keys + i), query = at(q + t * keys + i);
                for (int64_t v = 0; v < columns; ++v) {
                    d[static_cast<size_t>(t * columns + v)] -= w * s(i, v);
                    y[static_cast<size_t>(t * columns + v)] += query * s(i, v);
                }
            }
        }
        for (int64_t t = 0; t < tokens; ++t)
            for (int64_t i = 0; i < tokens; ++i)
                for (int64_t v = 0; v < columns; ++v)
                    y[static_cast<size_t>(t * columns + v)] +=
                        at(m + t * tokens + i) * d[static_cast<size_t>(i * columns + v)];
        for (int64_t i = 0; i < keys; ++i) {
            for (int64_t v = 0; v < columns; ++v) s(i, v) *= at(decay);
            for (int64_t t = 0; t < tokens; ++t) {
                const double key = at(k + t * keys + i);
                for (int64_t v = 0; v < columns; ++v)
                    s(i, v) += key * d[static_cast<size_t>(t * columns + v)];
            }
        }
        return y;
    }

    // All columns, of which `wanted` has the first.
    void compare(Comparison& comparison, std::span<const float> got,
                 std::span<const double> wanted) const {
        std::vector<float> all(static_cast<size_t>(values));
        for (size_t v = 0; v < wanted.size(); ++v) all[v] = static_cast<float>(wanted[v]);
        repeat_columns(all, values);
        comparison.add_all(0, got, all);
    }
};

std::span<const double> columns_of(std::span<const double> values, int64_t row, int64_t columns) {
    return values.subspan(static_cast<size_t>(row * columns), static_cast<size_t>(columns));
}

std::vector<double> in_double(const std::vector<float>& values) {
    return {values.begin(), values.end()};
}

void certify_chunk(Trial& t) {
    const Chunks c(t);
    auto chunks = seeded_floats(static_cast<size_t>(c.all * c.heads * c.floats()), t.random());
    // So that nothing grows from chunk to chunk.
    for (float& value : chunks) value *= 1.0f / static_cast<float>(c.keys);
    for (int64_t n = 0; n < c.all * c.heads; ++n)
        repeat_columns(
            std::span(chunks).subspan(static_cast<size_t>(n * c.floats() + 3 * c.tokens * c.keys),
                                      static_cast<size_t>(c.tokens * c.values)),
            c.values);
    t.put("chunks", chunks);
    const StepPlaces places(t, 0);
    std::vector<std::vector<float>> state;
    for (size_t i = 0; i < places.parts.size(); ++i) {
        state.push_back(
            seeded_floats(static_cast<size_t>(c.heads * c.keys * c.values), t.random()));
        repeat_columns(state.back(), c.values);
    }
    const int64_t stride = SlotStates::stride_for(c.heads * c.keys * c.values);
    SlotStates states(t, "state", state, stride);
    t.set_rows(places.rows(), 0, stride);
    t.out_floats("y", c.heads * c.values);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kRecurrent);
    Comparison& compare_state = t.compare("state", kRecurrent);
    const auto compare_head = [&](const StepPlaces::Part& of, int64_t h) {
        auto own =
            in_double(distinct_columns(row_of(state[of.sequence], h, c.keys * c.values), c.values));
        for (int64_t first = of.begin; first < of.end; first += c.tokens) {
            const auto wanted =
                c.run(row_of(chunks, first / c.tokens * c.heads + h, c.floats()), own);
            for (int64_t row = first; row < std::min(first + c.tokens, of.end); ++row)
                c.compare(comparison, row_of(y, row * c.heads + h, c.values),
                          columns_of(wanted, row - first, c.columns));
        }
        const auto after = states.read(of.sequence);
        for (int64_t i = 0; i < c.keys; ++i)
            c.compare(compare_state, row_of(after, h * c.keys + i, c.values),
                      columns_of(own, i, c.columns));
    };
    for (const StepPlaces::Part& part : places.parts)
        for (int64_t h = 0; h < c.heads; ++h) compare_head(part, h);
}

// What it leaves for the next kernel, run through the formulas, gives what the delta rule gives
// token by token.
void certify_prepare(Trial& t) {
    const Chunks c(t);
    const int64_t key_heads = t.number("kKeyHeads"), keys = key_heads * c.keys;
    const int64_t channels = 2 * keys + c.heads * c.values;
    auto qkv = seeded_floats(static_cast<size_t>(t.rows() * channels), t.random());
    for (int64_t row = 0; row < t.rows(); ++row)
        repeat_columns(std::span(qkv).subspan(static_cast<size_t>(row * channels + 2 * keys),
                                              static_cast<size_t>(c.heads * c.values)),
                       c.values);
    t.put("qkv", qkv);
    const auto a = t.put_floats("a", t.rows() * c.heads), b = t.put_floats("b", t.rows() * c.heads);
    const auto rate = t.weight_vector("ssm_a", -2.0f, -0.05f), bias = t.weight_vector("dt_bias");
    const StepPlaces places(t, 0);
    t.set_rows(places.rows(), 0, 0);
    t.scratch("chunks", c.all * c.heads * c.floats() * 4);
    t.launch();
    const auto chunks = t.get<float>("chunks");
    Comparison& comparison = t.compare("chunks, run", kRecurrent);
    // The columns that the formulas are not run with are those of columns that they are run with.
    Comparison& compare_columns = t.compare("chunks, columns", kRecurrent);
    for (int64_t h = 0; h < c.heads; ++h) {
        const auto head = static_cast<size_t>(h);
        std::vector<float> exact =
            seeded_floats(static_cast<size_t>(c.keys * c.columns), t.random());
        std::vector<double> own = in_double(exact);
        std::vector<float> wanted(static_cast<size_t>(c.columns)), got(wanted.size());
        for (int64_t n = 0; n < c.count; ++n) {
            const auto chunk = row_of(chunks, n * c.heads + h, c.floats());
            const auto results = c.run(chunk, own);
            for (int64_t token = 0; token < c.tokens; ++token) {
                const auto values =
                    chunk.subspan(static_cast<size_t>(3 * c.tokens * c.keys + token * c.values),
                                  static_cast<size_t>(c.values));
                c.compare(compare_columns, values,
                          in_double({values.begin(), values.begin() + c.columns}));
            }
            for (int64_t row = n * c.tokens; row < std::min((n + 1) * c.tokens, t.rows()); ++row) {
                if (places.fills(static_cast<size_t>(row))) continue;
                const auto input = row_of(qkv, row, channels);
                const auto part = [&](int64_t first, int64_t size) {
                    return input.subspan(static_cast<size_t>(first), static_cast<size_t>(size));
                };
                const int64_t key = h % key_heads * c.keys;
                const auto at = static_cast<size_t>(row * c.heads) + head;
                reference::delta_rule(exact, part(key, c.keys), part(keys + key, c.keys),
                                      part(2 * keys + h * c.values, c.columns),
                                      static_cast<double>(rate[head]) *
                                          reference::softplus(static_cast<double>(a[at]) +
                                                              static_cast<double>(bias[head])),
                                      reference::sigmoid(static_cast<double>(b[at])),
                                      t.real("kEps"), wanted);
                std::ranges::copy(columns_of(results, row - n * c.tokens, c.columns), got.begin());
                comparison.add_all(0, got, wanted);
            }
        }
    }
}

}  // namespace

constinit const Certifier kDeltaNetPrepareCertifier = {"delta_net_prepare", certify_prepare, 2};
constinit const Certifier kDeltaNetChunkCertifier = {"delta_net_chunk", certify_chunk, 2};
constinit const Certifier kDeltaNetMatrixCertifier = {"delta_net_matrix", certify_chunk, 2};

}  // namespace hetune
