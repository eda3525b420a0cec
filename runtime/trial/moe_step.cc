// The experts of one token in three launches: choice, gate and up, down with residual and norm.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

// For each row ids of different experts, the last one among them: [rows, used].
std::vector<int32_t> put_ids(Trial& t, int64_t experts, int64_t used) {
    std::vector<int32_t> ids;
    for (int64_t row = 0; row < t.rows(); ++row) {
        std::vector<int32_t> all(static_cast<size_t>(experts));
        std::iota(all.begin(), all.end(), 0);
        std::shuffle(all.begin(), all.end(), t.random());
        std::iter_swap(all.begin(), std::ranges::find(all, experts - 1));
        ids.insert(ids.end(), all.begin(), all.begin() + used);
    }
    t.put("ids", ids);
    return ids;
}

void certify_route(Trial& t) {
    const int64_t experts = t.number("kExperts"), used = t.number("kUsed"),
                  cols = t.number("kCols"), rows = t.rows();
    const bool normed = t.flag("kNormed"), shared = t.flag("kShared");
    const auto x = t.put_floats("x", rows * cols);
    std::vector<float> inputs(x.begin(), x.end());
    std::vector<double> factors(static_cast<size_t>(rows), 1.0);
    if (normed) {
        const auto norm = t.weight_vector("norm");
        for (size_t i = 0; i < inputs.size(); ++i) inputs[i] *= norm[i % static_cast<size_t>(cols)];
        factors = put_squares(t, rows, cols, t.real("kEps"));
    }
    t.scratch("parts", t.full_rows() * t.number("kSplits") * ((experts + 31) / 32 * 32 + 1) * 4);
    t.put("counters", std::vector<int32_t>(static_cast<size_t>(t.full_rows())));
    t.out_words("ids", rows * used, t.full_rows() * used);
    // Without a shared expert its place stays as it was.
    if (shared)
        t.out_words("shares", rows * (used + 1), t.full_rows() * (used + 1));
    else
        t.put("shares", std::vector<float>(static_cast<size_t>(t.full_rows() * (used + 1)), -7.0f));
    t.launch();

    const auto ids = t.get<int32_t>("ids");
    const auto shares = t.get<float>("shares");
    Comparison& comparison = t.compare("shares", 1e-3);
    for (int64_t row = 0; row < rows; ++row) {
        const auto input = row_of(inputs, row, cols);
        const double factor = factors[static_cast<size_t>(row % kDistinctRows)];
        std::vector<float> logits;
        for (int64_t e = 0; e < experts; ++e)
            logits.push_back(static_cast<float>(dot(t.weight_row("w", e), input) * factor));
        const auto wanted =
            reference::route(logits, static_cast<size_t>(used), t.flag("kRenormalise"));
        const double size = std::abs(static_cast<double>(
            *std::ranges::max_element(logits, {}, [](float v) { return std::abs(v); })));
        const auto own_ids = ids.subspan(static_cast<size_t>(row * used));
        const auto own_shares = row_of(shares, row, used + 1);
        for (size_t k = 0; k < wanted.experts.size(); ++k) {
            // Of two logits that are equal but for rounding either may be first.
            const bool known = own_ids[k] >= 0 && own_ids[k] < experts;
            const double apart =
                !known
                    ? size
                    : std::abs(static_cast<double>(logits[static_cast<size_t>(own_ids[k])]) -
                               static_cast<double>(logits[static_cast<size_t>(wanted.experts[k])]));
            t.same("ids", static_cast<int64_t>(k), apart <= 1e-5 * size ? 1 : 0, 1);
            comparison.add(static_cast<int64_t>(k), static_cast<double>(own_shares[k]),
                           static_cast<double>(wanted.shares[k]));
        }
        const auto of_shared = static_cast<double>(own_shares[static_cast<size_t>(used)]);
        if (shared)
            comparison.add(used, of_shared,
                           reference::sigmoid(dot(t.weight_row("gate", 0), input) * factor));
        else
            t.same("shares, behind the last", row, of_shared == -7.0 ? 1 : 0, 1);
    }
    for (const int32_t counter : t.get<int32_t>("counters")) t.same("counters", 0, counter, 0);
}

void certify_moe_gate_up(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const int64_t shared_rows = t.number("kSharedRows");
    const auto ids = put_ids(t, t.weight_rows("gate") / rows, used);
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    const std::vector<double> factors =
        t.flag("kNormed") ? put_squares(t, t.rows(), cols, t.real("kEps"))
                          : std::vector<double>(static_cast<size_t>(t.rows()), 1.0);
    TileOutput y(t, "y", used * rows + shared_rows, t.flag("kQuantisedOutput"));
    t.launch();
    y.read();
    const GatedProducts products(t, x, cols);
    std::optional<GatedProducts> shared;
    if (shared_rows > 0) shared.emplace(t, x, cols, "shared_gate", "shared_up");
    for (int64_t row = 0; row < t.rows(); ++row) {
        const double factor = factors[static_cast<size_t>(row % kDistinctRows)];
        std::vector<float> wanted;
        for (int64_t k = 0; k < used; ++k)
            std::ranges::copy(
                products.rows(ids[static_cast<size_t>(row * used + k)] * rows, rows, row, factor),
                std::back_inserter(wanted));
        if (shared)
            std::ranges::copy(shared->rows(0, shared_rows, row, factor),
                              std::back_inserter(wanted));
        y.compare_row(row, wanted);
    }
}

void certify_moe_down(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const int64_t shared_cols = t.number("kSharedCols"), width = used * cols + shared_cols;
    const bool normed = t.flag("kNormed");
    const auto ids = put_ids(t, t.weight_rows("w") / rows, used);
    const auto shares = t.put_floats("shares", t.rows() * (used + 1));
    const std::vector<float> x = t.put_activations("x", t.rows(), width, t.flag("kQuantisedInput"));
    const auto residual = t.put_floats("residual", t.rows() * rows);
    const auto norm = normed ? t.weight_vector("norm") : std::span<const float>();
    std::optional<TileOutput> next;
    t.out_floats("h", rows);
    if (normed) {
        next.emplace(t, "next", rows, t.flag("kQuantisedOutput"));
        t.out_floats("squares", rows / 32);
    }
    t.launch();
    if (normed) next->read();
    const auto h = t.get<float>("h");
    const auto squares = normed ? t.get<float>("squares") : std::span<const float>();
    Comparison& compare_h = t.compare("h", kSumTolerance);
    const int64_t distinct = t.distinct_weight_rows("w");
    for (int64_t token = 0; token < t.rows(); ++token) {
        const auto input = row_of(x, token, width);
        const auto own_shares = row_of(shares, token, used + 1);
        // Of the expert in slot k its own part of x, so that rows are not those of one product.
        std::vector<std::vector<double>> products(static_cast<size_t>(used));
        for (int64_t k = 0; k < used; ++k)
            for (int64_t row = 0; row < distinct; ++row)
                products[static_cast<size_t>(k)].push_back(
                    dot(t.weight_row("w", row), row_of(input, k, cols)));
        std::vector<float> wanted, squared;
        for (int64_t row = 0; row < rows; ++row) {
            double value =
                static_cast<double>(row_of(residual, token, rows)[static_cast<size_t>(row)]);
            for (size_t k = 0; k < products.size(); ++k) {
                const int64_t id = ids[static_cast<size_t>(token * used) + k];
                value += static_cast<double>(own_shares[k]) *
                         products[k][static_cast<size_t>((id * rows + row) % distinct)];
            }
            if (shared_cols > 0) {
                const double own = dot(t.weight_row("shared", row),
                                       input.subspan(static_cast<size_t>(used * cols)));
                value += t.flag("kSharedGate")
                             ? static_cast<double>(own_shares[products.size()]) * own
                             : own;
            }
            wanted.push_back(static_cast<float>(value));
        }
        compare_h.add_all(0, row_of(h, token, rows), wanted);
        if (!normed) continue;
        for (int64_t tile = 0; tile < rows / 32; ++tile)
            squared.push_back(
                static_cast<float>(dot(row_of(wanted, tile, 32), row_of(wanted, tile, 32))));
        t.compare("squares", kSumTolerance).add_all(0, row_of(squares, token, rows / 32), squared);
        for (size_t at = 0; at < wanted.size(); ++at) wanted[at] *= norm[at];
        next->compare_row(token, wanted);
    }
}

}  // namespace

Certifiers certifiers(const ops::MoeStep&) {
    static const Certifier list[] = {{"moe_route", certify_route, 2},
                                     {"moe_gate_up", certify_moe_gate_up, 2},
                                     {"moe_down", certify_moe_down, 2}};
    return list;
}

}  // namespace hetune
