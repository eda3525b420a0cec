// Experts of many rows on the matrix units: slots sorted by expert, a tile of activations for each
// chunk of one expert's slots.
#include <algorithm>

#include "planner/lower/matrix.h"
#include "planner/lower/moe.h"

namespace hetune {
namespace {

int64_t expert_rows(const PlanBuilder& b, const ops::Experts& op, const std::string& weight) {
    return b.tensor_rows(weight) / op.experts;
}

// The least tile that holds an expert's share of the slots, if they are spread evenly.
GemmTile expert_tile(const PlanBuilder& b, const ops::Experts& op) {
    const int64_t mean = b.rows(op.x) * op.used / op.experts;
    const int m = mean > 32 ? 64 : 32;
    return {b.tunable("experts_gate_up_gemm", "kTileM", m), 128, 4};
}

void lower_experts_gemm(PlanBuilder& b, const ops::Experts& op) {
    const ValueId x = op.x, y = op.y;
    const int64_t experts = op.experts, used = op.used, rows = b.rows(x);
    const int64_t width = b.width(x), inner = expert_rows(b, op, op.gate), hidden = b.width(y);
    const int64_t slots = rows * used, active = std::min(experts, slots);
    const QuantFormat& format = b.format(op.gate);
    const QuantFormat& down = b.format(op.down);
    const GemmTile tile = expert_tile(b, op);
    const int64_t chunks = slots / tile.m + active;  // each expert may have one that is not full
    const auto launched = static_cast<uint32_t>(chunks),
               threads = static_cast<uint32_t>(32 * tile.waves);

    const PlanArg halves = b.in(x, Form::kHalf);
    const PlanArg order = b.scratch(slots * 4), pieces = b.scratch(chunks * kExpertChunkBytes);
    emit_expert_groups(b, op, tile.m, chunks, order, pieces);

    const PlanArg act = b.scratch(slots * inner * 4);
    EmittedStep gate_up{.label = b.name(y) + ".gate_up",
                        .spec = {"experts_gate_up_gemm",
                                 {{"Quant", format.name},
                                  {"kUsed", constant(used)},
                                  {"kRows", constant(inner)},
                                  {"kCols", constant(width)},
                                  {"kTileM", constant(tile.m)},
                                  {"kTileN", constant(tile.n / 2)},
                                  {"kWaves", constant(tile.waves)}}},
                        .args = {order, pieces, b.tiles(op.gate), b.tiles(op.up), halves, act},
                        .groups = {ceil_div(inner, tile.n / 2), launched, 1},
                        .threads = threads};
    gate_up.cost.weight_bytes = 2 * active * tiles_bytes(format, inner, width);
    gate_up.cost.activation_bytes = slots * (inner * 4 + width * 2);
    gate_up.cost.operations = 4 * slots * inner * width;
    b.emit(std::move(gate_up));

    const PlanArg act_halves = b.scratch(slots * (inner * 2 + 16));
    b.emit_half_rows({.label = b.name(y) + ".act.half",
                      .step = b.step(x),
                      .from = act,
                      .to = act_halves,
                      .cols = inner,
                      .rows = slots,
                      .per_row = used});

    const PlanArg parts = b.scratch(slots * hidden * 4);
    EmittedStep product{.label = b.name(y) + ".down",
                        .spec = {"experts_down_gemm",
                                 {{"Quant", down.name},
                                  {"kRows", constant(hidden)},
                                  {"kCols", constant(inner)},
                                  {"kTileM", constant(tile.m)},
                                  {"kTileN", constant(tile.n)},
                                  {"kWaves", constant(tile.waves)}}},
                        .args = {order, pieces, b.tiles(op.down), act_halves, parts},
                        .groups = {ceil_div(hidden, tile.n), launched, 1},
                        .threads = threads};
    product.cost.weight_bytes = active * tiles_bytes(down, hidden, inner);
    product.cost.activation_bytes = slots * (hidden * 4 + inner * 2);
    product.cost.operations = 2 * slots * inner * hidden;
    b.emit(std::move(product));
    emit_experts_sum(b, op, parts);
}

}  // namespace

constinit const Lowering<ops::Experts> kExpertsByMatrix = {
    .variant = "gemm", .fits = experts_by_matrix, .emit = lower_experts_gemm};

bool experts_by_matrix(const PlanBuilder& b, const ops::Experts& op) {
    return op.gate_scale.empty() && by_matrix(b, op.x, expert_rows(b, op, op.gate)) &&
           expert_rows(b, op, op.gate) % 32 == 0 && expert_rows(b, op, op.down) % 32 == 0 &&
           &b.format(op.gate) == &b.format(op.up);
}

}  // namespace hetune
