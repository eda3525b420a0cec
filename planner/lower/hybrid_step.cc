// Fused kernels of hybrid and mixture-of-experts layers for one token (planner/fusion/hybrid.cc).
#include <fmt/format.h>

#include <algorithm>

#include "planner/lower/lowerings.h"
#include "planner/lower/normed.h"

namespace hetune {
namespace {

void lower_delta_step(PlanBuilder& b, const ops::DeltaStep& op) {
    const ValueId qkv = op.qkv, y = op.y;
    const int64_t heads = op.value_heads, taps = op.taps, width = b.width(qkv);
    const int64_t key_size = op.key_size, value_size = op.value_size;
    const bool quantised = output_quantised(b, y) && value_size % 32 == 0;
    // A wave for each unit of the state, of which there are as many as a group can have.
    const int64_t blocks = (value_size + 31) / 32;
    int splits = 1;
    while (blocks * splits * 2 <= 16 && key_size % (2 * splits) == 0) splits *= 2;
    splits = b.tunable("delta_step", "kSplits", b.arch.waves(splits));
    const int waves =
        b.waves("delta_step", static_cast<int>(std::min<int64_t>(16, blocks * splits)));
    const int64_t ring_bytes = taps * width * 4, state_bytes = heads * key_size * value_size * 4;
    const std::string state = fmt::format("state.{}.", op.state);
    const PlanArg in = b.in(qkv), a = b.in(op.a), beta = b.in(op.b), z = b.in(op.gate);
    const int64_t rows = b.rows(y);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"delta_step",
                 {{"kKeyHeads", constant(op.key_heads)},
                  {"kValueHeads", constant(heads)},
                  {"kKeySize", constant(key_size)},
                  {"kValueSize", constant(value_size)},
                  {"kTaps", constant(taps)},
                  {"kEps", constant(op.eps)},
                  {"kNormEps", constant(op.norm_eps)},
                  {"kQuantisedOutput", constant(quantised)},
                  {"kSplits", constant(splits)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(qkv), in, a, beta, z, b.raw(op.conv), b.raw(op.ssm_a), b.raw(op.dt_bias),
                 b.raw(op.norm), b.state(state + "conv", ring_bytes),
                 b.state(state + "delta", state_bytes),
                 b.out(y, quantised ? Form::kQuantised : Form::kFloat)},
        .groups = {static_cast<uint32_t>(heads), static_cast<uint32_t>(rows), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = rows > 1 ? 1 : -1};
    step.cost.weight_bytes = width * taps * 4;
    step.cost.activation_bytes =
        rows * (2 * (ring_bytes + state_bytes) + (2 * width + b.width(y)) * 4 +
                form_bytes(quantised, b.width(y)));
    step.cost.operations =
        rows * (2 * width * taps + 8 * heads * key_size * value_size + 8 * b.width(y));
    b.emit(std::move(step));
}

// Sizes that follow from the weights of a mixture.
struct MoeSizes {
    MoeSizes(const PlanBuilder& b, const ops::MoeStep& op)
        : width(b.width(op.x)),
          inner(b.tensor_rows(op.gate) / op.experts),
          shared_inner(op.shared ? b.tensor_rows(op.shared->gate) : 0),
          slots(op.used + (op.shared ? 1 : 0)),
          shared_gate(op.shared && !op.shared->share.empty()) {}

    int64_t width, inner, shared_inner;
    int64_t slots;  // experts of a token, the shared one among them
    bool shared_gate;
};

int waves_for(const PlanBuilder& b, const char* kernel, int64_t groups, int64_t tiles, int most) {
    return b.tunable(kernel, "kWaves", std::min(most, default_waves(b.arch, groups, tiles)));
}

void lower_route(PlanBuilder& b, const ops::MoeStep& op, const MoeSizes& m, const FusedInput& in,
                 PlanArg ids, PlanArg shares) {
    const QuantFormat& format = b.format(op.router);
    const int64_t row_tiles = (op.experts + 31) / 32, tiles = m.width / format.tile_elems;
    int splits = 1;
    while (splits < 8 && tiles % (2 * splits) == 0) splits *= 2;
    splits = b.tunable("moe_route", "kSplits", b.arch.waves(splits));
    const int64_t groups = (row_tiles + (m.shared_gate ? 1 : 0)) * splits;
    const int64_t rows = b.rows(op.y);
    const int waves = waves_for(b, "moe_route", groups, tiles / splits, 8);
    EmittedStep step{.label = b.name(op.y) + ".experts",
                     .spec = {"moe_route",
                              {{"Quant", format.name},
                               {"kExperts", constant(op.experts)},
                               {"kUsed", constant(op.used)},
                               {"kRenormalise", constant(op.renormalise)},
                               {"kShared", constant(m.shared_gate)},
                               {"kCols", constant(m.width)},
                               {"kNormed", constant(in.due)},
                               {"kEps", constant(in.eps)},
                               {"kSplits", constant(splits)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(op.y), in.due ? b.in(op.residual) : b.in(op.x),
                              in.due ? b.raw(op.norm) : b.none(), in.squares, b.tiles(op.router),
                              m.shared_gate ? b.tiles(op.shared->share) : b.none(),
                              b.scratch(rows * splits * (row_tiles * 32 + 1) * 4),
                              b.counters("route.counters", rows * 4), ids, shares},
                     .groups = {static_cast<uint32_t>(groups / splits),
                                static_cast<uint32_t>(splits), static_cast<uint32_t>(rows)},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = rows > 1 ? 2 : -1};
    step.cost.weight_bytes =
        tiles_bytes(format, op.experts, m.width) + (m.shared_gate ? m.width * 4 : 0);
    step.cost.activation_bytes = rows * (m.width * 4 + (op.experts + 2 * op.used) * 4);
    step.cost.operations = rows * 2 * op.experts * m.width;
    b.emit(std::move(step));
}

// Rows that use the same expert and share a read of its weights
// (kernel_templates/moe/expert_rows.h).
int rows_of_expert(const PlanBuilder& b, const ops::MoeStep& op, const char* kernel) {
    return std::max(1, std::min(b.rows(op.y), b.arch.expert_rows) >> b.batch_refusals(kernel));
}

void lower_gate_up(PlanBuilder& b, const ops::MoeStep& op, const MoeSizes& m, const FusedInput& in,
                   bool quantised, PlanArg ids, PlanArg act) {
    const QuantFormat &gate = b.format(op.gate), &up = b.format(op.up);
    const QuantFormat& shared_gate = op.shared ? b.format(op.shared->gate) : gate;
    const QuantFormat& shared_up = op.shared ? b.format(op.shared->up) : up;
    const int64_t row_tiles = std::max(m.inner, m.shared_inner) / 32;
    const int64_t tokens = b.rows(op.y);
    const int waves =
        waves_for(b, "moe_gate_up", row_tiles * m.slots, m.width / gate.tile_elems, 8);
    EmittedStep step{
        .label = b.name(op.y) + ".gate_up",
        .spec = {"moe_gate_up",
                 {{"Gate", gate.name},
                  {"Up", up.name},
                  {"SharedGate", shared_gate.name},
                  {"SharedUp", shared_up.name},
                  {"kUsed", constant(op.used)},
                  {"kRows", constant(m.inner)},
                  {"kSharedRows", constant(m.shared_inner)},
                  {"kCols", constant(m.width)},
                  {"kTokens", constant(rows_of_expert(b, op, "moe_gate_up"))},
                  {"kQuantisedInput", constant(in.quantised)},
                  {"kQuantisedOutput", constant(quantised)},
                  {"kNormed", constant(in.due)},
                  {"kEps", constant(in.eps)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(op.y), ids, b.tiles(op.gate), b.tiles(op.up),
                 op.shared ? b.tiles(op.shared->gate) : b.none(),
                 op.shared ? b.tiles(op.shared->up) : b.none(), in.value, in.squares, act},
        .groups = {static_cast<uint32_t>(row_tiles), static_cast<uint32_t>(m.slots),
                   static_cast<uint32_t>(tokens)},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = tokens > 1 ? 2 : -1};
    const int64_t rows = op.used * m.inner + m.shared_inner;
    // The rows of a batch count as if each had experts of its own: which they are, data decides.
    step.cost.weight_bytes =
        tokens * op.used *
        (tiles_bytes(gate, m.inner, m.width) + tiles_bytes(up, m.inner, m.width));
    if (op.shared)
        step.cost.weight_bytes += tiles_bytes(shared_gate, m.shared_inner, m.width) +
                                  tiles_bytes(shared_up, m.shared_inner, m.width);
    step.cost.activation_bytes =
        tokens * (form_bytes(in.quantised, m.width) + form_bytes(quantised, rows));
    step.cost.operations = tokens * 4 * rows * m.width;
    b.emit(std::move(step));
}

// True: a token's experts are rows of moe_down_products' input, and the step has enough rows. With
// fewer, hardly any share an expert (of 256, 8 each, 16 rows use 101), and a second launch costs
// each layer its time. Not measured on a card of AMD.
bool down_by_expert(const PlanBuilder& b, const ops::MoeStep& op, const MoeSizes& m) {
    constexpr int64_t kFewest = 16;
    const int64_t own = m.shared_inner > 0 ? m.shared_inner : m.inner;
    return b.arch.expert_rows > 1 && b.rows(op.y) >= kFewest && own % m.inner == 0 &&
           op.used * m.inner % own == 0 && b.batch_refusals("moe_down_products") <= 2 &&
           b.batch_refusals("moe_down_sum") == 0;
}

// Inputs and outputs of what follows gate and up.
struct MoeDown {
    PlanArg ids, shares, act, residual, after;
    bool quantised;  // act
    Normed next;
};

// Reading the experts' down and their inputs, and multiplying.
StepCost cost_of_products(const PlanBuilder& b, const ops::MoeStep& op, const MoeSizes& m,
                          bool quantised) {
    const int64_t rows = b.rows(op.y), inputs = op.used * m.inner + m.shared_inner;
    StepCost cost;
    cost.weight_bytes = rows * op.used * tiles_bytes(b.format(op.down), m.width, m.inner);
    if (op.shared)
        cost.weight_bytes += tiles_bytes(b.format(op.shared->down), m.width, m.shared_inner);
    cost.activation_bytes = rows * form_bytes(quantised, inputs);
    cost.operations = rows * 2 * m.width * inputs;
    return cost;
}

void lower_down_by_expert(PlanBuilder& b, const ops::MoeStep& op, const MoeSizes& m,
                          const MoeDown& in) {
    const int64_t rows = b.rows(op.y);
    const QuantFormat &down = b.format(op.down),
                      &own = b.format(op.shared ? op.shared->down : op.down);
    const PlanArg products = b.scratch(rows * m.slots * m.width * 4);
    const int waves = b.arch.waves(4);
    const auto groups = [&](int of_waves) { return ceil_div(m.width / 32, of_waves); };
    EmittedStep step{
        .label = b.name(op.y) + ".down",
        .spec = {"moe_down_products",
                 {{"Quant", down.name},
                  {"Shared", own.name},
                  {"kUsed", constant(op.used)},
                  {"kRows", constant(m.width)},
                  {"kCols", constant(m.inner)},
                  {"kSharedCols", constant(m.shared_inner)},
                  {"kTokens", constant(rows_of_expert(b, op, "moe_down_products"))},
                  {"kQuantisedInput", constant(in.quantised)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(op.y), in.ids, b.tiles(op.down),
                 op.shared ? b.tiles(op.shared->down) : b.none(), in.act, products},
        .groups = {groups(waves), static_cast<uint32_t>(m.slots), static_cast<uint32_t>(rows)},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = 2};
    step.cost = cost_of_products(b, op, m, in.quantised);
    step.cost.activation_bytes += rows * m.slots * m.width * 4;
    b.emit(std::move(step));

    const int sum_waves = b.arch.waves(4);
    EmittedStep sum{.label = b.name(op.y),
                    .spec = {"moe_down_sum",
                             {{"kUsed", constant(op.used)},
                              {"kRows", constant(m.width)},
                              {"kShared", constant(op.shared.has_value())},
                              {"kSharedGate", constant(m.shared_gate)},
                              {"kNormed", constant(op.next.has_value())},
                              {"kQuantisedOutput", constant(in.next.quantised)},
                              {"kWaves", constant(sum_waves)}}},
                    .args = {b.step(op.y), products, in.shares, in.residual,
                             op.next ? b.raw(op.next->weight) : b.none(), in.after, in.next.value,
                             in.next.squares},
                    .groups = {groups(sum_waves), static_cast<uint32_t>(rows), 1},
                    .threads = static_cast<uint32_t>(32 * sum_waves),
                    .rows_axis = 1};
    sum.cost.weight_bytes = op.next ? m.width * 4 : 0;
    sum.cost.activation_bytes = rows * (m.slots * m.width * 4 + m.width * 8 +
                                        (op.next ? form_bytes(in.next.quantised, m.width) : 0));
    sum.cost.operations = rows * 2 * m.slots * m.width;
    b.emit(std::move(sum));
}

void lower_moe_step(PlanBuilder& b, const ops::MoeStep& op) {
    const MoeSizes m(b, op);
    const ValueId h = op.y;
    const bool normed = op.next.has_value();
    const FusedInput in = in_normed(b, op);
    const bool quantised =
        b.options.activations == Activations::kQuantised && b.format(op.down).integer;
    const int64_t rows = b.rows(h);
    const PlanArg ids = b.scratch(rows * op.used * 4), shares = b.scratch(rows * (op.used + 1) * 4);
    const PlanArg act = b.scratch(rows * form_bytes(quantised, op.used * m.inner + m.shared_inner));
    lower_route(b, op, m, in, ids, shares);
    lower_gate_up(b, op, m, in, quantised, ids, act);

    const PlanArg residual = b.in(op.residual);
    const PlanArg after = b.out(h);
    const Normed next = normed ? out_normed(b, *op.next) : Normed{b.none(), b.none(), false};
    if (down_by_expert(b, op, m))
        return lower_down_by_expert(b, op, m, {ids, shares, act, residual, after, quantised, next});
    const int waves = b.waves("moe_down", static_cast<int>(std::min<int64_t>(16, m.slots)));
    const QuantFormat &down = b.format(op.down),
                      &own = b.format(op.shared ? op.shared->down : op.down);
    EmittedStep step{
        .label = b.name(h),
        .spec = {"moe_down",
                 {{"Quant", down.name},
                  {"Shared", own.name},
                  {"kUsed", constant(op.used)},
                  {"kRows", constant(m.width)},
                  {"kCols", constant(m.inner)},
                  {"kSharedCols", constant(m.shared_inner)},
                  {"kSharedGate", constant(m.shared_gate)},
                  {"kQuantisedInput", constant(quantised)},
                  {"kNormed", constant(normed)},
                  {"kQuantisedOutput", constant(next.quantised)},
                  {"kWaves", constant(waves)}}},
        .args = {b.step(h), ids, shares, b.tiles(op.down),
                 op.shared ? b.tiles(op.shared->down) : b.none(), act, residual,
                 normed ? b.raw(op.next->weight) : b.none(), after, next.value, next.squares},
        .groups = {static_cast<uint32_t>(m.width / 32), static_cast<uint32_t>(rows), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = rows > 1 ? 1 : -1};
    step.cost = cost_of_products(b, op, m, quantised);
    step.cost.weight_bytes += normed ? m.width * 4 : 0;
    step.cost.activation_bytes +=
        rows * (m.width * 8 + (normed ? form_bytes(next.quantised, m.width) : 0));
    b.emit(std::move(step));
}

}  // namespace

Lowerings<ops::DeltaStep> lowerings(const ops::DeltaStep&) {
    static const Lowering<ops::DeltaStep> list[] = {
        {.variant = "one launch", .emit = lower_delta_step}};
    return list;
}
Lowerings<ops::MoeStep> lowerings(const ops::MoeStep&) {
    static const Lowering<ops::MoeStep> list[] = {
        {.variant = "three launches", .emit = lower_moe_step}};
    return list;
}

}  // namespace hetune
