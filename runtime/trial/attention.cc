// Heads' norm and rotation, writes to the KV cache, and attention.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <ranges>

#include "planner/plan/device_sizes.h"
#include "runtime/oracle/primitives.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/products.h"
#include "runtime/trial/slots.h"

namespace hetune {
namespace {

constexpr double kRotation = 5e-4;  // sine and cosine of the device's own units
constexpr double kSoftmax = 5e-4;   // exponentials of the device, summed over the context

// Rounding of a value that goes into the cache.
double stored_tolerance(const std::string& type) {
    return type == "KvF32"   ? kRotation
           : type == "KvF16" ? 1e-3
           : type == "KvQ8"  ? kHalfStep + 1e-3  // a head has one scale
                             : 8e-3;
}

// All heads of a row, of `size` values each.
void rotate(const Trial& t, int64_t position, std::span<float> heads, int64_t size) {
    const auto pairs = static_cast<size_t>(t.number("kRotary") / 2);
    if (pairs > 0)
        reference::rope(heads, static_cast<size_t>(size), t.rope_turns().first(pairs),
                        t.real("kMagnitude"), position, t.flag("kInterleaved"));
}

void norm_and_rotate(const Trial& t, std::span<const float> from, std::span<const float> weight,
                     int64_t position, std::span<float> head) {
    if (t.flag("kNorm"))
        reference::rmsnorm(from, weight, t.real("kEps"), head);
    else
        std::ranges::copy(from, head.begin());
    rotate(t, position, head, static_cast<int64_t>(head.size()));
}

void compare_head(Comparison& comparison, std::span<const float> got,
                  std::span<const float> wanted) {
    comparison.add_all(0, got, wanted);
}

// Heads of a cache's keys or values, [positions][size], each made when it is first asked for.
class CachedHeads {
  public:
    // `last`: values of all heads that stand for the last row.
    CachedHeads(const KvShape& shape, std::span<const std::byte> cache,
                std::span<const float> last = {})
        : shape_(shape), cache_(cache), last_(last) {}
    const float* operator[](int64_t head) {
        std::vector<float>& values = made_[head];
        if (!values.empty()) return values.data();
        values = kv_head(shape_, cache_, head);
        if (!last_.empty())
            std::ranges::copy(row_of(last_, head, shape_.size), values.end() - shape_.size);
        return values.data();
    }

  private:
    KvShape shape_;
    std::span<const std::byte> cache_;
    std::span<const float> last_;
    std::map<int64_t, std::vector<float>> made_;
};

void certify_head_norm_rope(Trial& t) {
    const int64_t heads = t.number("kHeads"), size = t.number("kHeadSize"),
                  stride = t.number("kStride");
    const StepPlaces places(t, t.stand_at(777));
    t.set_rows(places.rows(), 0, 0);
    const auto x = t.put_activations("x", t.rows(), stride, false);
    const auto w = t.flag("kNorm") ? t.weight_vector("w") : std::span<const float>();
    t.out_floats("y", heads * size);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kRotation);
    // The rows of x repeat: their norms are computed once, and a row's heads turn together.
    const int64_t distinct = std::min(t.rows(), kDistinctRows), width = heads * size;
    std::vector<float> normed;
    for (int64_t i = 0; i < distinct * heads; ++i) {
        const auto from =
            row_of(x, i / heads, stride)
                .subspan(static_cast<size_t>(i % heads * size), static_cast<size_t>(size));
        std::vector<float> head(from.begin(), from.end());
        if (t.flag("kNorm")) reference::rmsnorm(from, w, t.real("kEps"), head);
        normed.insert(normed.end(), head.begin(), head.end());
    }
    for (int64_t row = 0; row < t.rows(); ++row) {
        if (places.has_ended(static_cast<size_t>(row))) continue;
        const auto from = row_of(normed, row % distinct, width);
        std::vector<float> wanted(from.begin(), from.end());
        rotate(t, places.positions[static_cast<size_t>(row)], wanted, size);
        compare_head(comparison, row_of(y, row, width), wanted);
    }
}

// Rows of a cache for each sequence.
std::vector<std::vector<std::byte>> seeded_caches(Trial& t, const KvShape& shape,
                                                  const StepPlaces& places) {
    std::vector<std::vector<std::byte>> caches;
    for (const int64_t length : places.lengths)
        caches.push_back(seeded_kv(shape, length, t.random()));
    return caches;
}

void certify_kv_write(Trial& t) {
    const KvShape shape{t.text("Kv"), t.number("kKvHeads"), t.number("kHeadSize")};
    const int64_t width = shape.width(), row_bytes = shape.row_bytes();
    const char* const kSides[][2] = {{"k", "k_cache"}, {"v", "v_cache"}};
    std::vector<float> wanted[2];
    const StepPlaces places(t, t.stand_at(kPageTokens - 2));
    const CachePages pages(t, places);
    const auto old = pages.place(seeded_caches(t, shape, places), row_bytes);
    for (const int side : {0, 1}) {
        wanted[side] =
            kv_values(shape, seeded_kv(shape, t.rows(), t.random()));  // exact in the cache's type
        t.put(kSides[side][0], wanted[side]);
        t.put(kSides[side][1], old);
    }
    t.launch();
    for (const int side : {0, 1}) {
        // The scale of bytes is computed anew.
        Comparison& comparison = t.compare(kSides[side][1], shape.type == "KvQ8" ? 1e-5 : kExact);
        const auto cache = t.get<std::byte>(kSides[side][1]);
        // With its own rows as they were, the cache is as it was.
        auto others = std::vector<std::byte>(cache.begin(), cache.end());
        // All of them: a row that was left out is not poisoned, but holds what was there before.
        for (size_t row = 0; row < places.positions.size(); ++row) {
            if (places.has_ended(row) || places.fills(row)) continue;
            const auto at = static_cast<size_t>(
                pages.row(places.sequence[row], places.positions[row]) * row_bytes);
            const auto bytes = static_cast<size_t>(row_bytes);
            std::ranges::copy(std::span(old).subspan(at, bytes),
                              others.begin() + static_cast<std::ptrdiff_t>(at));
            compare_head(comparison, kv_values(shape, cache.subspan(at, bytes)),
                         row_of(wanted[side], static_cast<int64_t>(row), width));
        }
        t.same(kSides[side][1], 0, others == old, 1);
    }
}

// Keys and values of the step's sequences.
struct StepCaches {
    StepCaches(Trial& t, const KvShape& shape, const StepPlaces& places)
        : keys(seeded_caches(t, shape, places)), values(seeded_caches(t, shape, places)) {
        const CachePages pages(t, places);
        t.put("k_cache", pages.place(keys, shape.row_bytes()));
        t.put("v_cache", pages.place(values, shape.row_bytes()));
    }
    std::vector<std::vector<std::byte>> keys, values;
};

// Attention of all rows of a step. Queries repeat after kDistinctRows rows, so that one pass over
// the keys of a prompt gives a query's results at each of its rows: a row sees one key more than
// the row before.
struct ManyRows {
    int64_t heads, size;
    KvShape shape;

    // `compare` gets row, head and what is wanted there.
    template <class Compare>
    void each(const Trial& t, std::span<const float> queries, const StepPlaces& places,
              const StepCaches& caches, Compare&& compare) const {
        if (t.decodes()) {
            for (size_t row = 0; row < places.positions.size(); ++row) {
                if (places.has_ended(row)) continue;
                CachedHeads k(shape, caches.keys[row]), v(shape, caches.values[row]);
                const auto at = static_cast<int64_t>(row);
                attend(t, queries, at, k, v, {places.positions[row] + 1},
                       [&](int64_t, int64_t head, std::span<const float> wanted) {
                           compare(at, head, wanted);
                       });
            }
            return;
        }
        for (const auto& [begin, end, position, sequence] : places.parts) {
            CachedHeads k(shape, caches.keys[sequence]), v(shape, caches.values[sequence]);
            for (int64_t first = begin; first < std::min(end, begin + kDistinctRows); ++first) {
                std::vector<int64_t> counts;
                for (int64_t row = first; row < end; row += kDistinctRows)
                    counts.push_back(position + row - begin + 1);
                const int64_t one =
                    begin - position - 1;  // a count of keys is that of this row more
                attend(t, queries, first, k, v, counts,
                       [&](int64_t count, int64_t head, std::span<const float> wanted) {
                           compare(count + one, head, wanted);
                       });
            }
        }
    }

  private:
    // One row's queries, over each of these counts of keys.
    template <class Compare>
    void attend(const Trial& t, std::span<const float> queries, int64_t row, CachedHeads& k,
                CachedHeads& v, const std::vector<int64_t>& counts, Compare&& compare) const {
        std::vector<float> wanted(static_cast<size_t>(size));
        for (int64_t head = 0; head < heads; ++head) {
            const int64_t from = head / (heads / shape.heads);
            reference::attend(row_of(queries, row * heads + head, size), k[from], v[from], size,
                              counts, t.real("kScale"), wanted,
                              [&](int64_t count) { compare(count, head, wanted); });
        }
    }
};

struct Shape {
    explicit Shape(const Trial& t)
        : heads(t.number("kHeads")),
          kv_heads(t.number("kKvHeads")),
          size(t.number("kHeadSize")),
          splits(t.number("kSplits")),
          waves(t.number("kWaves")) {}
    int64_t heads, kv_heads, size, splits, waves;
    int64_t kv_width() const { return kv_heads * size; }
    // Far enough on that each wave of each split has a tile of 32 keys, that one has some of one,
    // and that one goes from page to page.
    int64_t far_position() const { return std::max(32 * splits * waves, 2 * kPageTokens + 32) + 5; }
};

// The share of one head: sums, peak, sum of weights.
void add_share(std::span<const float> share, double peak, std::vector<double>& sums,
               double& weights) {
    const double factor = std::exp(static_cast<double>(share[sums.size()]) - peak);
    for (size_t d = 0; d < sums.size(); ++d) sums[d] += factor * static_cast<double>(share[d]);
    weights += factor * static_cast<double>(share[sums.size() + 1]);
}

std::vector<float> merged(std::span<const float> shares, int64_t splits, int64_t size) {
    const auto share = static_cast<size_t>(size + 2);
    double peak = -1e30, weights = 0;
    for (size_t s = 0; s < static_cast<size_t>(splits); ++s)
        peak = std::max(peak, static_cast<double>(shares[s * share + share - 2]));
    std::vector<double> sums(static_cast<size_t>(size));
    for (size_t s = 0; s < static_cast<size_t>(splits); ++s)
        add_share(shares.subspan(s * share, share), peak, sums, weights);
    std::vector<float> result;
    for (const double sum : sums) result.push_back(static_cast<float>(sum / weights));
    return result;
}

void certify_split(Trial& t) {
    const Shape s(t);
    const KvShape shape{t.text("Kv"), s.kv_heads, s.size};
    const StepPlaces places(t, t.stand_at(s.far_position()));
    const StepCaches caches(t, shape, places);
    const auto q = t.put_activations("q", t.rows(), s.heads * s.size, false);
    t.out_floats("shares", s.heads * s.splits * (s.size + 2));
    t.launch();
    const auto shares = t.get<float>("shares");
    Comparison& comparison = t.compare("shares, merged", kSoftmax);
    ManyRows{s.heads, s.size, shape}.each(
        t, q, places, caches, [&](int64_t row, int64_t head, std::span<const float> wanted) {
            const auto of_head = row_of(shares, row * s.heads + head, s.splits * (s.size + 2));
            compare_head(comparison, merged(of_head, s.splits, s.size), wanted);
        });
}

void certify_merge(Trial& t) {
    const int64_t heads = t.number("kHeads"), size = t.number("kHeadSize"),
                  splits = t.number("kSplits");
    const int64_t share = size + 2;
    auto shares = seeded_floats(static_cast<size_t>(t.rows() * heads * splits * share), t.random());
    for (size_t at = static_cast<size_t>(share) - 1; at < shares.size();
         at += static_cast<size_t>(share)) {
        shares[at] = 2.0f + shares[at];  // sums of weights are positive
        shares[at - 1] = 3.0f * shares[at - 1];
    }
    t.put("shares", shares);
    t.out_floats("y", heads * size);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kSoftmax);
    for (int64_t i = 0; i < t.rows() * heads; ++i)
        compare_head(comparison, row_of(y, i, size),
                     merged(row_of(shares, i, splits * share), splits, size));
}

// Rows of a step at once, on matrix units: 16-bit queries, keys and weights.
void certify_flash(Trial& t) {
    constexpr double kHalves = 4e-3;
    const KvShape shape{t.text("Kv"), t.number("kKvHeads"), t.number("kHeadSize")};
    const int64_t heads = t.number("kHeads"), size = shape.size;
    // Two whole steps of keys, and some.
    const StepPlaces places(t, t.stand_at(2 * t.number("kKeys") + 5));
    const StepCaches caches(t, shape, places);
    const auto q = t.put_activations("q", t.rows(), heads * size, false);
    t.out_floats("y", heads * size);
    t.launch();
    const auto y = t.get<float>("y");
    Comparison& comparison = t.compare("y", kHalves);
    ManyRows{heads, size, shape}.each(
        t, q, places, caches, [&](int64_t row, int64_t head, std::span<const float> wanted) {
            compare_head(comparison, row_of(y, row * heads + head, size), wanted);
        });
}

// One launch: heads, cache and softmax; each row is of a sequence of its own.
void certify_step(Trial& t) {
    const Shape s(t);
    const std::string& type = t.text("Kv");
    const KvShape shape{type, s.kv_heads, s.size};
    const auto row_bytes = shape.row_bytes();
    const int64_t far = t.stand_at(s.far_position());
    const StepPlaces places(t, far);
    const std::vector<int64_t>& positions = places.positions;
    const CachePages pages(t, places);

    const bool gated = t.flag("kGated");  // then each head of q has its gate behind it
    const int64_t query = gated ? 2 * s.size : s.size;
    const auto q = t.put_floats("q", t.rows() * s.heads * query),
               k = t.put_floats("k", t.rows() * s.kv_width());
    const auto v = t.put("v", kv_values(shape, seeded_kv(shape, t.rows(), t.random())));
    const auto keys = seeded_caches(t, shape, places), values = seeded_caches(t, shape, places);
    const auto first_new = static_cast<size_t>(t.rows() == 1 ? pages.row(0, far) : 0);
    const auto k_before = t.put("k_cache", pages.place(keys, row_bytes)),
               v_before = t.put("v_cache", pages.place(values, row_bytes));
    for (const char* cache : {"k_cache", "v_cache"})
        t.changes_from(cache, static_cast<int64_t>(first_new) * row_bytes);
    if (s.splits > 1) {
        t.scratch("shares", t.full_rows() * s.heads * s.splits * (s.size + 2) * 4);
        t.put("counters", std::vector<int32_t>(static_cast<size_t>(t.full_rows() * s.kv_heads *
                                                                   t.number("kParts"))));
    }
    const bool norm = t.flag("kNorm");
    const auto q_norm = norm ? t.weight_vector("q_norm") : std::span<const float>();
    const auto k_norm = norm ? t.weight_vector("k_norm") : std::span<const float>();
    TileOutput y(t, "y", s.heads * s.size, t.flag("kQuantisedOutput"), kSoftmax);
    t.launch();

    Comparison& compare_keys = t.compare("k_cache", stored_tolerance(type));
    Comparison& compare_values = t.compare("v_cache", type == "KvQ8" ? 1e-5 : kExact);
    auto k_after = t.get<std::byte>("k_cache"), v_after = t.get<std::byte>("v_cache");
    const auto new_row = [&](std::span<const std::byte> cache, size_t row) {
        const auto at = static_cast<size_t>(pages.row(row, positions[row])) - first_new;
        return kv_values(shape, cache.subspan(at * static_cast<size_t>(row_bytes),
                                              static_cast<size_t>(row_bytes)));
    };
    // All rows of the caches but the new ones are as they were.
    for (size_t at = 0; at * static_cast<size_t>(row_bytes) < k_after.size(); ++at) {
        const bool is_new =
            std::ranges::any_of(std::views::iota(size_t{0}, positions.size()), [&](size_t row) {
                return !places.has_ended(row) &&
                       static_cast<size_t>(pages.row(row, positions[row])) == at + first_new;
            });
        const auto same = [&](std::span<const std::byte> before, std::span<const std::byte> after) {
            const auto size = static_cast<size_t>(row_bytes);
            return std::ranges::equal(before.subspan((at + first_new) * size, size),
                                      after.subspan(at * size, size));
        };
        if (!is_new && !(same(k_before, k_after) && same(v_before, v_after)))
            t.same("rows of others", static_cast<int64_t>(at), 0, 1);
    }
    if (s.splits > 1)
        for (const int32_t counter : t.get<int32_t>("counters")) t.same("counters", 0, counter, 0);
    y.read();
    const int64_t group = s.heads / s.kv_heads;
    std::vector<float> head(static_cast<size_t>(s.size)), result(head.size());
    for (size_t r = 0; r < positions.size(); ++r) {
        if (places.has_ended(r)) continue;
        const auto row = static_cast<int64_t>(r);
        const auto new_key = new_row(k_after, r), new_value = new_row(v_after, r);
        for (int64_t h = 0; h < s.kv_heads; ++h) {
            norm_and_rotate(t, row_of(k, row * s.kv_heads + h, s.size), k_norm, positions[r], head);
            compare_head(compare_keys, row_of(new_key, h, s.size), head);
        }
        compare_head(compare_values, new_value, row_of(v, row, s.kv_width()));
        CachedHeads all_keys(shape, keys[r], new_key), all_values(shape, values[r], new_value);
        std::vector<float> wanted;
        for (int64_t h = 0; h < s.heads; ++h) {
            const auto own = row_of(q, row * s.heads + h, query);
            norm_and_rotate(t, own.first(head.size()), q_norm, positions[r], head);
            reference::attend(head, all_keys[h / group], all_values[h / group], s.size,
                              positions[r] + 1, t.real("kScale"), result);
            if (gated)
                for (size_t d = 0; d < result.size(); ++d)
                    result[d] = static_cast<float>(
                        static_cast<double>(result[d]) *
                        reference::sigmoid(static_cast<double>(own[head.size() + d])));
            wanted.insert(wanted.end(), result.begin(), result.end());
        }
        y.compare_row(row, wanted);  // blocks of 32 may hold the ends of two heads
    }
}

}  // namespace

constinit const Certifier kHeadNormRopeCertifier = {"head_norm_rope", certify_head_norm_rope, 2};

Certifiers certifiers(const ops::HeadRmsNorm&) { return {&kHeadNormRopeCertifier, 1}; }
Certifiers certifiers(const ops::Rope&) { return {&kHeadNormRopeCertifier, 1}; }
Certifiers certifiers(const ops::Attention&) {
    static const Certifier list[] = {{"kv_write", certify_kv_write},
                                     {"attention_split", certify_split, 2},
                                     {"attention_merge", certify_merge},
                                     {"attention_flash", certify_flash, 2}};
    return list;
}
Certifiers certifiers(const ops::AttentionStep&) {
    static const Certifier list[] = {{"attention_step", certify_step}};
    return list;
}

}  // namespace hetune
