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

// Products of the experts' down of one token, in the order of its slots, and of the shared expert.
struct DownProducts {
    explicit DownProducts(const Trial& t)
        : rows(t.number("kRows")),
          cols(t.number("kCols")),
          used(t.number("kUsed")),
          shared_cols(t.number("kSharedCols")) {}
    int64_t rows, cols, used, shared_cols;
    int64_t width() const { return used * cols + shared_cols; }

    // A token's ids.
    std::span<const int32_t> own(std::span<const int32_t> ids, int64_t token) const {
        return ids.subspan(static_cast<size_t>(token * used), static_cast<size_t>(used));
    }
    // [slots][rows]
    std::vector<std::vector<double>> of(Trial& t, std::span<const float> input,
                                        std::span<const int32_t> ids) const {
        const int64_t distinct = t.distinct_weight_rows("w");
        std::vector<std::vector<double>> products;
        for (int64_t k = 0; k < used; ++k) {
            // Each slot has a part of x of its own, so that no two slots have the same product.
            std::vector<double> each;
            for (int64_t row = 0; row < distinct; ++row)
                each.push_back(dot(t.weight_row("w", row), row_of(input, k, cols)));
            auto& all = products.emplace_back();
            for (int64_t row = 0; row < rows; ++row)
                all.push_back(each[static_cast<size_t>((ids[static_cast<size_t>(k)] * rows + row) %
                                                       distinct)]);
        }
        if (shared_cols > 0) {
            auto& all = products.emplace_back();
            for (int64_t row = 0; row < rows; ++row)
                all.push_back(dot(t.weight_row("shared", row),
                                  input.subspan(static_cast<size_t>(used * cols))));
        }
        return products;
    }
};

// The end of moe_down and of moe_down_sum: outputs, and what they must hold.
class DownSums {
  public:
    DownSums(Trial& t, bool shared)
        : trial_(t), rows_(t.number("kRows")), used_(t.number("kUsed")), shared_(shared) {
        shares_ = t.put_floats("shares", t.rows() * (used_ + 1));
        residual_ = t.put_floats("residual", t.rows() * rows_);
        normed_ = t.flag("kNormed");
        if (normed_) norm_ = t.weight_vector("norm");
        t.out_floats("h", rows_);
        if (!normed_) return;
        next_.emplace(t, "next", rows_, t.flag("kQuantisedOutput"));
        t.out_floats("squares", rows_ / 32);
    }
    void read() {
        if (normed_) next_->read();
    }
    // One token's products: [slots][rows].
    void compare(int64_t token, const std::vector<std::vector<double>>& products) {
        const auto own_shares = row_of(shares_, token, used_ + 1);
        std::vector<float> wanted, squared;
        for (size_t row = 0; row < static_cast<size_t>(rows_); ++row) {
            auto value = static_cast<double>(row_of(residual_, token, rows_)[row]);
            for (size_t k = 0; k < products.size(); ++k) {
                const bool whole =
                    shared_ && k + 1 == products.size() && !trial_.flag("kSharedGate");
                value += products[k][row] * (whole ? 1.0 : static_cast<double>(own_shares[k]));
            }
            wanted.push_back(static_cast<float>(value));
        }
        trial_.compare("h", kSumTolerance)
            .add_all(0, row_of(trial_.get<float>("h"), token, rows_), wanted);
        if (!normed_) return;
        for (int64_t tile = 0; tile < rows_ / 32; ++tile)
            squared.push_back(
                static_cast<float>(dot(row_of(wanted, tile, 32), row_of(wanted, tile, 32))));
        trial_.compare("squares", kSumTolerance)
            .add_all(0, row_of(trial_.get<float>("squares"), token, rows_ / 32), squared);
        for (size_t at = 0; at < wanted.size(); ++at) wanted[at] *= norm_[at];
        next_->compare_row(token, wanted);
    }

  private:
    Trial& trial_;
    int64_t rows_, used_;
    bool shared_, normed_ = false;
    std::span<const float> shares_, residual_, norm_;
    std::optional<TileOutput> next_;
};

void certify_moe_down(Trial& t) {
    const DownProducts of(t);
    const auto ids = put_ids(t, t.weight_rows("w") / of.rows, of.used);
    const std::vector<float> x =
        t.put_activations("x", t.rows(), of.width(), t.flag("kQuantisedInput"));
    DownSums sums(t, of.shared_cols > 0);
    t.launch();
    sums.read();
    for (int64_t token = 0; token < t.rows(); ++token)
        sums.compare(token, of.of(t, row_of(x, token, of.width()), of.own(ids, token)));
}

void certify_moe_down_products(Trial& t) {
    const DownProducts of(t);
    const int64_t slots = of.used + (of.shared_cols > 0 ? 1 : 0);
    const auto ids = put_ids(t, t.weight_rows("w") / of.rows, of.used);
    const std::vector<float> x =
        t.put_activations("x", t.rows(), of.width(), t.flag("kQuantisedInput"));
    t.out_floats("products", slots * of.rows);
    t.launch();
    const auto products = t.get<float>("products");
    Comparison& comparison = t.compare("products", kSumTolerance);
    for (int64_t token = 0; token < t.rows(); ++token) {
        const auto wanted = of.of(t, row_of(x, token, of.width()), of.own(ids, token));
        for (int64_t k = 0; k < slots; ++k) {
            const auto& own = wanted[static_cast<size_t>(k)];
            comparison.add_all(0, row_of(products, token * slots + k, of.rows),
                               std::vector<float>(own.begin(), own.end()));
        }
    }
}

void certify_moe_down_sum(Trial& t) {
    const bool shared = t.flag("kShared");
    const int64_t rows = t.number("kRows"), slots = t.number("kUsed") + (shared ? 1 : 0);
    const auto products = t.put_floats("products", t.rows() * slots * rows);
    DownSums sums(t, shared);
    t.launch();
    sums.read();
    for (int64_t token = 0; token < t.rows(); ++token) {
        std::vector<std::vector<double>> own;
        for (int64_t k = 0; k < slots; ++k) {
            const auto of_slot = row_of(products, token * slots + k, rows);
            own.emplace_back(of_slot.begin(), of_slot.end());
        }
        sums.compare(token, own);
    }
}

}  // namespace

Certifiers certifiers(const ops::MoeStep&) {
    static const Certifier list[] = {{"moe_route", certify_route, 2},
                                     {"moe_gate_up", certify_moe_gate_up, 2},
                                     {"moe_down", certify_moe_down, 2},
                                     {"moe_down_products", certify_moe_down_products, 2},
                                     {"moe_down_sum", certify_moe_down_sum, 2}};
    return list;
}

}  // namespace hetune
