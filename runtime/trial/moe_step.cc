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

// Ids of different experts, the last one among them.
std::vector<int32_t> put_ids(Trial& t, int64_t experts, int64_t used) {
    std::vector<int32_t> all(static_cast<size_t>(experts));
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), t.random());
    std::iter_swap(all.begin(), std::ranges::find(all, experts - 1));
    all.resize(static_cast<size_t>(used));
    t.put("ids", all);
    return all;
}

void certify_route(Trial& t) {
    const int64_t experts = t.number("kExperts"), used = t.number("kUsed"),
                  cols = t.number("kCols");
    const bool normed = t.flag("kNormed"), shared = t.flag("kShared");
    const auto x = t.put_floats("x", cols);
    std::vector<float> input(x.begin(), x.end());
    double factor = 1;
    if (normed) {
        const auto norm = t.weight_vector("norm");
        for (size_t i = 0; i < input.size(); ++i) input[i] *= norm[i];
        factor = put_squares(t, 1, cols, t.real("kEps"))[0];
    }
    t.scratch("parts", t.number("kSplits") * ((experts + 31) / 32 * 32 + 1) * 4);
    t.put("counter", std::vector<int32_t>(1));
    t.out_words("ids", used, used);
    t.out_words("shares", used + (shared ? 1 : 0), used + 1);
    t.launch();

    std::vector<float> logits;
    for (int64_t e = 0; e < experts; ++e)
        logits.push_back(static_cast<float>(dot(t.weight_row("w", e), input) * factor));
    const auto wanted = reference::route(logits, static_cast<size_t>(used), t.flag("kRenormalise"));
    const auto ids = t.get<int32_t>("ids");
    const auto shares = t.get<float>("shares");
    const double size = std::abs(static_cast<double>(
        *std::ranges::max_element(logits, {}, [](float v) { return std::abs(v); })));
    Comparison& comparison = t.compare("shares", 1e-3);
    for (size_t k = 0; k < wanted.experts.size(); ++k) {
        // Of two logits that are equal but for rounding either may be first.
        const bool known = ids[k] >= 0 && ids[k] < experts;
        const double apart =
            !known ? size
                   : std::abs(static_cast<double>(logits[static_cast<size_t>(ids[k])]) -
                              static_cast<double>(logits[static_cast<size_t>(wanted.experts[k])]));
        t.same("ids", static_cast<int64_t>(k), apart <= 1e-5 * size ? 1 : 0, 1);
        comparison.add(static_cast<int64_t>(k), static_cast<double>(shares[k]),
                       static_cast<double>(wanted.shares[k]));
    }
    if (shared)
        comparison.add(used, static_cast<double>(shares[static_cast<size_t>(used)]),
                       reference::sigmoid(dot(t.weight_row("gate", 0), input) * factor));
    t.same("counter", 0, t.get<int32_t>("counter")[0], 0);
}

void certify_moe_gate_up(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const int64_t shared_rows = t.number("kSharedRows");
    const auto ids = put_ids(t, t.weight_rows("gate") / rows, used);
    const auto x = t.put_activations("x", 1, cols, t.flag("kQuantisedInput"));
    const double factor = t.flag("kNormed") ? put_squares(t, 1, cols, t.real("kEps"))[0] : 1;
    TileOutput y(t, "y", used * rows + shared_rows, t.flag("kQuantisedOutput"));
    t.launch();
    y.read();
    std::vector<float> wanted;
    const GatedProducts products(t, x, cols);
    for (const int32_t id : ids)
        std::ranges::copy(products.rows(id * rows, rows, 0, factor), std::back_inserter(wanted));
    if (shared_rows > 0)
        std::ranges::copy(
            GatedProducts(t, x, cols, "shared_gate", "shared_up").rows(0, shared_rows, 0, factor),
            std::back_inserter(wanted));
    y.compare_row(0, wanted);
}

void certify_moe_down(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const int64_t shared_cols = t.number("kSharedCols");
    const bool normed = t.flag("kNormed");
    const auto ids = put_ids(t, t.weight_rows("w") / rows, used);
    const auto shares = t.put_floats("shares", used + 1);
    const std::vector<float> x =
        t.put_activations("x", 1, used * cols + shared_cols, t.flag("kQuantisedInput"));
    const auto residual = t.put_floats("residual", rows);
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
    // Of the expert in slot k its own part of x, so that rows are not those of one product.
    std::vector<std::vector<double>> products(static_cast<size_t>(used));
    for (int64_t k = 0; k < used; ++k)
        for (int64_t row = 0; row < distinct; ++row)
            products[static_cast<size_t>(k)].push_back(
                dot(t.weight_row("w", row), row_of(x, k, cols)));
    std::vector<float> wanted, squared;
    for (int64_t row = 0; row < rows; ++row) {
        double value = static_cast<double>(residual[static_cast<size_t>(row)]);
        for (size_t k = 0; k < products.size(); ++k)
            value += static_cast<double>(shares[k]) *
                     products[k][static_cast<size_t>((ids[k] * rows + row) % distinct)];
        if (shared_cols > 0) {
            const double own = dot(t.weight_row("shared", row),
                                   std::span(x).subspan(static_cast<size_t>(used * cols)));
            value +=
                t.flag("kSharedGate") ? static_cast<double>(shares[products.size()]) * own : own;
        }
        wanted.push_back(static_cast<float>(value));
    }
    compare_h.add_all(0, h, wanted);
    if (!normed) return;
    for (int64_t tile = 0; tile < rows / 32; ++tile)
        squared.push_back(
            static_cast<float>(dot(row_of(wanted, tile, 32), row_of(wanted, tile, 32))));
    t.compare("squares", kSumTolerance).add_all(0, squares, squared);
    for (size_t at = 0; at < wanted.size(); ++at) wanted[at] *= norm[at];
    next->compare_row(0, wanted);
}

}  // namespace

Certifiers certifiers(const ops::MoeStep&) {
    static const Certifier list[] = {{"moe_route", certify_route},
                                     {"moe_gate_up", certify_moe_gate_up},
                                     {"moe_down", certify_moe_down}};
    return list;
}

}  // namespace hetune
