// Mixtures of experts: the router, products of the experts in use, and their sums.
#include <algorithm>
#include <numeric>

#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"

namespace hetune {
namespace {

constexpr double kShares = 2e-5;  // exponentials of the device, divided by their sum

struct Router {
    int64_t experts, used;
    bool renormalise;
    size_t groups, groups_used;
};

void route_all(Trial& t, const Router& r, const std::vector<float>& logits) {
    t.put("logits", logits);
    t.out_words("ids", t.rows() * r.used, t.full_rows() * r.used);
    t.out_floats("shares", r.used);
    t.launch();
    const auto ids = t.get<int32_t>("ids");
    const auto shares = t.get<float>("shares");
    Comparison& comparison = t.compare("shares", kShares);
    for (int64_t row = 0; row < t.rows(); ++row) {
        const auto wanted =
            reference::route(row_of(logits, row, r.experts), static_cast<size_t>(r.used),
                             r.renormalise, r.groups, r.groups_used);
        for (size_t k = 0; k < wanted.experts.size(); ++k) {
            const auto at = static_cast<size_t>(row * r.used) + k;
            t.same("ids", static_cast<int64_t>(k), ids[at], wanted.experts[k]);
            comparison.add(static_cast<int64_t>(k), static_cast<double>(shares[at]),
                           static_cast<double>(wanted.shares[k]));
        }
    }
}

void certify_routes(Trial& t, bool renormalise, size_t groups, size_t groups_used) {
    const Router r{t.number("kExperts"), t.number("kUsed"), renormalise, groups, groups_used};
    auto logits = seeded_floats(static_cast<size_t>(t.rows() * r.experts), t.random());
    for (float& v : logits) v *= 4.0f;
    // The first row has ties.
    for (int64_t e = 0; e < r.experts; ++e)
        logits[static_cast<size_t>(e)] = static_cast<float>(e % 3);
    route_all(t, r, logits);
    if (groups == 1) return;
    // The likeliest expert is alone in a group that is not among the best by two.
    const auto experts = static_cast<size_t>(r.experts), of_group = experts / groups;
    for (size_t at = 0; at < logits.size(); ++at) {
        const size_t e = at % experts;
        const bool alone = e / of_group == at / experts % groups;
        const bool likely = e % of_group < (alone ? 1u : 2u);
        logits[at] = 0.01f * logits[at] + (!likely ? -6.0f : alone ? 3.0f : 2.8f);
    }
    route_all(t, r, logits);
}

// Different experts for each row, the last one among them.
std::vector<int32_t> choose_experts(Trial& t, int64_t rows, int64_t experts, int64_t used) {
    std::vector<int32_t> ids, all(static_cast<size_t>(experts));
    std::iota(all.begin(), all.end(), 0);
    for (int64_t row = 0; row < rows; ++row) {
        std::shuffle(all.begin(), all.end(), t.random());
        if (row == 0) std::iter_swap(all.begin(), std::ranges::find(all, experts - 1));
        ids.insert(ids.end(), all.begin(), all.begin() + used);
    }
    return ids;
}

void certify_router(Trial& t) { certify_routes(t, t.flag("kRenormalise"), 1, 1); }

void certify_router_groups(Trial& t) {
    certify_routes(t, true, static_cast<size_t>(t.number("kGroups")),
                   static_cast<size_t>(t.number("kGroupsUsed")));
}

void certify_scale_shares(Trial& t) {
    const int64_t used = t.number("kUsed");
    const auto scale = t.weight_vector("s");
    const auto ids = choose_experts(t, t.rows(), static_cast<int64_t>(scale.size()), used);
    t.put("ids", ids);
    const auto shares = t.put_floats("shares", t.rows() * used);
    t.out_floats("y", used);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kShares);
    for (size_t slot = 0; slot < ids.size(); ++slot)
        comparison.add(static_cast<int64_t>(slot) % used, static_cast<double>(y[slot]),
                       static_cast<double>(shares[slot]) *
                           static_cast<double>(scale[static_cast<size_t>(ids[slot])]));
}

void certify_gate_up(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const auto ids = choose_experts(t, t.rows(), t.weight_rows("gate") / rows, used);
    t.put("ids", ids);
    const auto scale =
        t.flag("kGateScale") ? t.weight_vector("gate_scale") : std::span<const float>();
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    TileOutput y(t, "y", used * rows, t.flag("kQuantisedOutput"));
    t.launch();
    y.read();
    const GatedProducts products(t, x, cols);
    for (int64_t row = 0; row < t.rows(); ++row) {
        std::vector<float> wanted;
        for (int64_t slot = row * used; slot < (row + 1) * used; ++slot) {
            const int32_t expert = ids[static_cast<size_t>(slot)];
            const auto gate_scale =
                scale.empty() ? 1.0 : static_cast<double>(scale[static_cast<size_t>(expert)]);
            std::ranges::copy(products.rows(expert * rows, rows, row, 1, gate_scale),
                              std::back_inserter(wanted));
        }
        y.compare_row(row, wanted);
    }
}

void certify_down(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const auto ids = choose_experts(t, t.rows(), t.weight_rows("w") / rows, used);
    t.put("ids", ids);
    const auto shares = t.put_floats("shares", t.rows() * used);
    const auto x = t.put_activations("x", t.rows() * used, cols, t.flag("kQuantisedInput"));
    t.out_floats("y", rows);
    t.launch();
    const auto y = t.get<float>("y");
    const Products products(t, "w", x, cols);
    Comparison& comparison = t.compare("y", kSumTolerance);
    std::vector<float> wanted(static_cast<size_t>(rows));
    for (int64_t token = 0; token < t.rows(); ++token) {
        for (int64_t row = 0; row < rows; ++row) {
            double sum = 0;
            for (int64_t slot = token * used; slot < (token + 1) * used; ++slot)
                sum += static_cast<double>(shares[static_cast<size_t>(slot)]) *
                       products.of(ids[static_cast<size_t>(slot)] * rows + row, slot);
            wanted[static_cast<size_t>(row)] = static_cast<float>(sum);
        }
        comparison.add_all(0, row_of(y, token, rows), wanted);
    }
}

void certify_sum(Trial& t) {
    const int64_t cols = t.number("kCols"), used = t.number("kUsed");
    const auto shares = t.put_floats("shares", t.rows() * used);
    const auto x = t.put_floats("x", t.rows() * used * cols);
    t.out_floats("y", cols);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kSumTolerance);
    for (int64_t row = 0; row < t.rows(); ++row)
        for (int64_t col = 0; col < cols; ++col) {
            double wanted = 0;
            for (int64_t slot = row * used; slot < (row + 1) * used; ++slot)
                wanted += static_cast<double>(shares[static_cast<size_t>(slot)]) *
                          static_cast<double>(x[static_cast<size_t>(slot * cols + col)]);
            comparison.add(col, static_cast<double>(y[static_cast<size_t>(row * cols + col)]),
                           wanted);
        }
}

// What expert_groups makes, and the grouped products read (kernel_templates/moe/expert_chunk.h).
struct Groups {
    std::vector<int32_t> order;
    std::vector<int32_t> chunks;  // expert, first, last; -1, 0, 0 behind the last

    Groups(const std::vector<int32_t>& ids, int64_t experts, int64_t tokens, int64_t chunk_count) {
        for (int64_t e = 0; e < experts; ++e) {
            const auto first = static_cast<int32_t>(order.size());
            for (size_t slot = 0; slot < ids.size(); ++slot)
                if (ids[slot] == e) order.push_back(static_cast<int32_t>(slot));
            const auto end = static_cast<int32_t>(order.size());
            for (int32_t at = first; at < end; at += static_cast<int32_t>(tokens)) {
                const int32_t last = std::min(at + static_cast<int32_t>(tokens), end) - 1;
                chunks.insert(chunks.end(), {static_cast<int32_t>(e), at, last});
            }
        }
        while (static_cast<int64_t>(chunks.size()) < 3 * chunk_count)
            chunks.insert(chunks.end(), {-1, 0, 0});
    }
};

void certify_groups(Trial& t) {
    const int64_t experts = t.number("kExperts"), used = t.number("kUsed"),
                  chunks = t.number("kChunks");
    const auto ids = choose_experts(t, t.rows(), experts, used);
    t.put("ids", ids);
    t.out_words("order", t.rows() * used, t.full_rows() * used);
    t.out_words("chunks", 3 * chunks, 3 * chunks);
    t.launch();
    const Groups wanted(ids, experts, t.number("kTokens"), chunks);
    const auto order = t.get<int32_t>("order"), made = t.get<int32_t>("chunks");
    for (size_t i = 0; i < wanted.order.size(); ++i)
        t.same("order", static_cast<int64_t>(i), order[i], wanted.order[i]);
    for (size_t i = 0; i < made.size(); ++i)
        t.same("chunks", static_cast<int64_t>(i), made[i], wanted.chunks[i]);
}

// Slots of a grouped launch. Its kernels know no rows: chunks say what there is.
struct GroupedSlots {
    GroupedSlots(Trial& t, const char* weights, int64_t used, const char* tokens = "kTokens")
        : experts(t.weight_rows(weights) / t.number("kRows")),
          ids(choose_experts(t, t.rows(), experts, used)) {
        const Groups groups(ids, experts, t.number(tokens), t.groups_y());
        t.put("order", groups.order);
        t.put("chunks", groups.chunks);
    }
    int64_t count() const { return static_cast<int64_t>(ids.size()); }
    int64_t first_row(int64_t slot, int64_t rows) const {
        return ids[static_cast<size_t>(slot)] * rows;
    }
    int64_t experts;
    std::vector<int32_t> ids;
};

template <class Compare>
void compare_slots(const Products& products, const GroupedSlots& slots, int64_t rows,
                   const Compare& compare) {
    std::vector<float> wanted(static_cast<size_t>(rows));
    for (int64_t slot = 0; slot < slots.count(); ++slot) {
        for (int64_t row = 0; row < rows; ++row)
            wanted[static_cast<size_t>(row)] =
                static_cast<float>(products.of(slots.first_row(slot, rows) + row, slot));
        compare(slot, std::span<const float>(wanted));
    }
}

void certify_gate_up_grouped(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const GroupedSlots slots(t, "gate", used);
    const auto x = t.put_activations("x", t.rows(), cols, t.flag("kQuantisedInput"));
    TileOutput y(t, "y", slots.count(), rows, t.flag("kQuantisedOutput"));
    t.launch();
    y.read();
    const GatedProducts products(t, x, cols);
    for (int64_t slot = 0; slot < slots.count(); ++slot)
        y.compare_row(slot, products.rows(slots.first_row(slot, rows), rows, slot / used));
}

void certify_down_grouped(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    // How many experts a token uses is in no constant of this kernel.
    const int64_t x_row =
        t.flag("kQuantisedInput") ? cols / 32 * static_cast<int64_t>(sizeof(HostXBlock)) : cols * 4;
    const GroupedSlots slots(t, "w", t.argument_bytes("x") / x_row / t.full_rows());
    const auto x = t.put_activations("x", slots.count(), cols, t.flag("kQuantisedInput"));
    TileOutput y(t, "y", slots.count(), rows, false);
    t.launch();
    y.read();
    compare_slots(
        Products(t, "w", x, cols), slots, rows,
        [&](int64_t slot, std::span<const float> wanted) { y.compare_row(slot, wanted); });
}

// The grouped products on matrix units, whose weights are rounded to 16-bit floats.
constexpr double kHalfExperts = 4e-3;

void certify_gate_up_gemm(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols"), used = t.number("kUsed");
    const GroupedSlots slots(t, "gate", used, "kTileM");
    const auto x = t.put("x", seeded_half_rows(t.rows(), cols, t.random()));
    t.out_all_floats("y", slots.count() * rows);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kHalfExperts);
    const GatedProducts products(t, distinct_half_rows(cols, x), cols);
    for (int64_t slot = 0; slot < slots.count(); ++slot)
        comparison.add_all(0, row_of(y, slot, rows),
                           products.rows(slots.first_row(slot, rows), rows, slot / used));
}

void certify_down_gemm(Trial& t) {
    const int64_t rows = t.number("kRows"), cols = t.number("kCols");
    const GroupedSlots slots(t, "w", t.argument_bytes("x") / (2 * cols + 16) / t.full_rows(),
                             "kTileM");
    const auto x = t.put("x", seeded_half_rows(slots.count(), cols, t.random()));
    t.out_all_floats("y", slots.count() * rows);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kHalfExperts);
    compare_slots(Products(t, "w", distinct_half_rows(cols, x), cols), slots, rows,
                  [&](int64_t slot, std::span<const float> wanted) {
                      comparison.add_all(0, row_of(y, slot, rows), wanted);
                  });
}

}  // namespace

Certifiers certifiers(const ops::Router&) {
    static const Certifier list[] = {
        kGemvCertifier, {"router", certify_router}, {"router_groups", certify_router_groups, 2}};
    return list;
}
Certifiers certifiers(const ops::ScaleShares&) {
    static const Certifier list[] = {{"scale_shares", certify_scale_shares}};
    return list;
}
Certifiers certifiers(const ops::Experts&) {
    static const Certifier list[] = {{"experts_gate_up", certify_gate_up},
                                     {"experts_down", certify_down},
                                     {"expert_groups", certify_groups},
                                     {"experts_gate_up_grouped", certify_gate_up_grouped},
                                     {"experts_down_grouped", certify_down_grouped},
                                     {"experts_gate_up_gemm", certify_gate_up_gemm},
                                     {"experts_down_gemm", certify_down_gemm},
                                     {"experts_sum", certify_sum},
                                     kHalfRowsCertifier};
    return list;
}

}  // namespace hetune
