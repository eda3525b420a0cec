// Attention from primitives: norm and rope of heads, KV write, attention split over the context.
#include <fmt/format.h>

#include "planner/lower/lowerings.h"
#include "planner/lower/plan_builder.h"

namespace hetune {
namespace {

// Members that a norm of heads and a rotation share, and members of one of them alone.
struct HeadWork {
    ValueId x, y;
    int64_t heads, head_size;
    bool norm = false;
    double eps = 0;
    int64_t rotary = 0;
    bool interleaved = false;
};

void emit_head_kernel(PlanBuilder& b, const HeadWork& work, PlanArg weight) {
    const ValueId x = work.x;
    const bool turned = work.rotary > 0;
    const PlanArg in = b.in(x);
    EmittedStep step{
        .label = b.name(work.y),
        .spec = {"head_norm_rope",
                 {{"kHeads", constant(work.heads)},
                  {"kHeadSize", constant(work.head_size)},
                  {"kStride", constant(b.width(x))},
                  {"kNorm", constant(work.norm)},
                  {"kEps", constant(work.eps)},
                  {"kRotary", constant(work.rotary)},
                  {"kInterleaved", constant(work.interleaved)},
                  {"kMagnitude", constant(turned ? b.graph.rope_magnitude : 1.0)}}},
        .args = {b.step(x), in, weight, turned ? b.turns() : b.none(), b.out(work.y)},
        .groups = {static_cast<uint32_t>(work.heads), static_cast<uint32_t>(b.rows(x)), 1},
        .rows_axis = 1};
    step.cost.activation_bytes = 2 * b.rows(x) * b.width(x) * 4;
    step.cost.operations = 6 * b.rows(x) * b.width(x);
    b.emit(std::move(step));
}

void lower_head_rmsnorm(PlanBuilder& b, const ops::HeadRmsNorm& op) {
    emit_head_kernel(b,
                     {.x = op.x,
                      .y = op.y,
                      .heads = op.heads,
                      .head_size = op.head_size,
                      .norm = true,
                      .eps = op.eps},
                     b.raw(op.weight));
}
void lower_rope(PlanBuilder& b, const ops::Rope& op) {
    emit_head_kernel(b,
                     {.x = op.x,
                      .y = op.y,
                      .heads = op.heads,
                      .head_size = op.head_size,
                      .rotary = op.rotary,
                      .interleaved = op.interleaved},
                     b.none());
}

// The new keys and values into the layer's cache, which both forms of attention then read.
struct KvCache {
    PlanArg k, v;
};
KvCache emit_kv_write(PlanBuilder& b, const ops::Attention& op) {
    if (op.head_size % 8 != 0)
        throw ModelError(
            fmt::format("{}: heads of {} values; the attention kernels need a multiple "
                        "of 8 (ModelOptions::backend = \"reference\" takes any)",
                        b.file.path().string(), op.head_size));
    // Each query head of a KV head has its sums in registers. Of 64 there were too many on sm_90,
    // 33 fitted on gfx1100.
    constexpr int64_t kMostOfKvHead = 32;
    const int64_t of_kv_head = op.heads / op.kv_heads;
    if (b.arch.family != TargetFamily::kCpu && of_kv_head > kMostOfKvHead)
        throw ModelError(
            fmt::format("{}: {} query heads for each KV head; the attention kernels take up to {} "
                        "on a GPU (--backend cpu takes any)",
                        b.file.path().string(), of_kv_head, kMostOfKvHead));
    const ValueId k = op.k, v = op.v;
    const int64_t kv_width = op.kv_heads * op.head_size;
    const int64_t kv_heads = op.kv_heads, head_size = op.head_size;
    const auto rows = static_cast<uint32_t>(b.rows(k));
    const KvCache cache{b.kv(op.kv, "k", kv_heads, head_size),
                        b.kv(op.kv, "v", kv_heads, head_size)};
    const PlanArg k_in = b.in(k), v_in = b.in(v);
    const int waves = b.waves("kv_write", 4);
    EmittedStep write{.label = b.name(op.y) + ".kv_write",
                      .spec = {"kv_write",
                               {{"Kv", kv_functor(b.options.kv)},
                                {"kKvHeads", constant(kv_heads)},
                                {"kHeadSize", constant(head_size)},
                                {"kWaves", constant(waves)}}},
                      .args = {b.step(k), b.pages(), k_in, v_in, cache.k, cache.v},
                      .groups = {static_cast<uint32_t>((kv_heads + waves - 1) / waves), rows, 1},
                      .threads = static_cast<uint32_t>(32 * waves),
                      .rows_axis = 1};
    write.cost.activation_bytes = 2 * rows * kv_width * 4;
    b.emit(std::move(write));
    return cache;
}

void lower_attention(PlanBuilder& b, const ops::Attention& op) {
    const ValueId q = op.q, y = op.y;
    const int64_t heads = op.heads, kv_heads = op.kv_heads;
    const int64_t head_size = op.head_size;
    const auto rows = static_cast<uint32_t>(b.rows(q));
    const std::string kv_type = kv_functor(b.options.kv);
    const KvCache cache = emit_kv_write(b, op);
    const PlanArg q_in = b.in(q);

    const int waves = b.waves("attention_split", 4);
    const int splits =
        b.tunable("attention_split", "kSplits", default_splits(b.arch, kv_heads * rows));
    const PlanArg shares = b.scratch(int64_t{rows} * heads * splits * (head_size + 2) * 4);
    EmittedStep split{
        .label = b.name(y) + ".split",
        .spec = {"attention_split",
                 {{"Kv", kv_type},
                  {"kHeads", constant(heads)},
                  {"kKvHeads", constant(kv_heads)},
                  {"kHeadSize", constant(head_size)},
                  {"kScale", constant(op.scale)},
                  {"kSplits", constant(splits)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(q), b.pages(), q_in, cache.k, cache.v, shares},
        .groups = {static_cast<uint32_t>(kv_heads), static_cast<uint32_t>(splits), rows},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = 2};
    split.cost.activation_bytes = rows * heads * (head_size + splits * (head_size + 2)) * 4;
    split.cost.kv_bytes_per_context = 2 * kv_row_bytes(b.options.kv, kv_heads, head_size);
    split.cost.operations_per_context = 4 * rows * heads * head_size;
    b.emit(std::move(split));

    EmittedStep merge{.label = b.name(y),
                      .spec = {"attention_merge",
                               {{"kHeads", constant(heads)},
                                {"kHeadSize", constant(head_size)},
                                {"kSplits", constant(splits)}}},
                      .args = {b.step(q), shares, b.out(y)},
                      .groups = {static_cast<uint32_t>(heads), rows, 1},
                      .rows_axis = 1};
    merge.cost.activation_bytes = rows * heads * (head_size + splits * (head_size + 2)) * 4;
    b.emit(std::move(merge));
}

// Keys in LDS at once, and waves: the largest that fit beside the queries.
struct FlashShape {
    int keys, waves;
};
FlashShape flash_shape(const PlanBuilder& b, int64_t head_size) {
    const bool wide = head_size > 128;
    return {b.tunable("attention_flash", "kKeys", wide ? 32 : 64),
            b.tunable("attention_flash", "kWaves", wide ? 2 : 4)};
}

bool flash_fits(const PlanBuilder& b, const ops::Attention& op) {
    const int64_t head_size = op.head_size;
    return b.options.by_matrix() && b.rows(op.q) >= kMatrixRows && head_size % 16 == 0 &&
           head_size <= 256 && op.heads / op.kv_heads <= 16 * flash_shape(b, head_size).waves;
}

void lower_flash(PlanBuilder& b, const ops::Attention& op) {
    const ValueId q = op.q, y = op.y;
    const int64_t heads = op.heads, kv_heads = op.kv_heads;
    const int64_t head_size = op.head_size, rows = b.rows(q);
    const FlashShape shape = flash_shape(b, head_size);
    const int tokens = 16 * shape.waves / static_cast<int>(heads / kv_heads);  // of a group
    const KvCache cache = emit_kv_write(b, op);
    const PlanArg q_in = b.in(q);
    EmittedStep step{.label = b.name(y),
                     .spec = {"attention_flash",
                              {{"Kv", kv_functor(b.options.kv)},
                               {"kHeads", constant(heads)},
                               {"kKvHeads", constant(kv_heads)},
                               {"kHeadSize", constant(head_size)},
                               {"kScale", constant(op.scale)},
                               {"kKeys", constant(shape.keys)},
                               {"kWaves", constant(shape.waves)}}},
                     .args = {b.step(q), b.pages(), q_in, cache.k, cache.v, b.out(y)},
                     .groups = {static_cast<uint32_t>(kv_heads),
                                static_cast<uint32_t>((rows + tokens - 1) / tokens), 1},
                     .threads = static_cast<uint32_t>(32 * shape.waves),
                     .rows_axis = 1,
                     .rows_per_group = tokens};
    step.cost.activation_bytes = 2 * rows * heads * head_size * 4;
    step.cost.kv_bytes_per_context = 2 * kv_row_bytes(b.options.kv, kv_heads, head_size);
    step.cost.operations_per_context = 4 * rows * heads * head_size;
    b.emit(std::move(step));
}

}  // namespace

Lowerings<ops::HeadRmsNorm> lowerings(const ops::HeadRmsNorm&) {
    static const Lowering<ops::HeadRmsNorm> list[] = {
        {.variant = "wave", .emit = lower_head_rmsnorm}};
    return list;
}
Lowerings<ops::Rope> lowerings(const ops::Rope&) {
    static const Lowering<ops::Rope> list[] = {{.variant = "wave", .emit = lower_rope}};
    return list;
}
Lowerings<ops::Attention> lowerings(const ops::Attention&) {
    static const Lowering<ops::Attention> list[] = {
        {.variant = "flash", .fits = flash_fits, .emit = lower_flash},
        {.variant = "split", .emit = lower_attention}};
    return list;
}

}  // namespace hetune
