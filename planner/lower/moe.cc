// Mixture of experts: a router whose choice stays on the device, and products with the active
// experts' pieces of the stacked matrices.
#include "planner/lower/moe.h"

#include <fmt/format.h>

#include <algorithm>

#include "planner/lower/linear.h"

namespace hetune {
void emit_expert_groups(PlanBuilder& b, const Op& op, int tokens, int64_t chunks, PlanArg order,
                        PlanArg pieces) {
    const ValueId x = op.inputs[0], ids = op.inputs[1];
    const int64_t experts = op.integer("experts"), used = op.integer("used");
    const int waves =
        b.arch.waves(static_cast<int>(std::clamp<int64_t>(b.rows(x) * used / 32, 1, 16)));
    EmittedStep sort{.label = b.name(op.outputs[0]) + ".groups",
                     .spec = {"expert_groups",
                              {{"kExperts", constant(experts)},
                               {"kUsed", constant(used)},
                               {"kTokens", constant(tokens)},
                               {"kChunks", constant(chunks)},
                               {"kWaves", constant(waves)}}},
                     .args = {b.step(x), b.in(ids, Form::kIds), order, pieces},
                     .threads = static_cast<uint32_t>(32 * waves)};
    sort.cost.activation_bytes = 2 * b.rows(x) * used * 4 + chunks * kExpertChunkBytes;
    b.emit(std::move(sort));
}

void emit_experts_sum(PlanBuilder& b, const Op& op, PlanArg parts) {
    const ValueId x = op.inputs[0], shares = op.inputs[2], y = op.outputs[0];
    const int64_t used = op.integer("used"), hidden = b.width(y), rows = b.rows(x);
    const int waves = b.waves("experts_sum", 4);
    EmittedStep sum{.label = b.name(y),
                    .spec = {"experts_sum",
                             {{"kUsed", constant(used)},
                              {"kCols", constant(hidden)},
                              {"kWaves", constant(waves)}}},
                    .args = {b.step(x), b.in(shares), parts, b.out(y)},
                    .groups = {ceil_div(hidden, 32 * waves), static_cast<uint32_t>(rows), 1},
                    .threads = static_cast<uint32_t>(32 * waves),
                    .rows_axis = 1};
    sum.cost.activation_bytes = (rows * used + rows) * hidden * 4;
    sum.cost.operations = 2 * rows * used * hidden;
    b.emit(std::move(sum));
}

namespace {

void lower_router(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], ids = op.outputs[0], shares = op.outputs[1];
    const int64_t experts = op.integer("experts"), used = op.integer("used");
    const auto rows = static_cast<uint32_t>(b.rows(x));
    if (used > 32)
        throw ModelError(fmt::format("{}: {} experts per token; the router kernel takes up to 32",
                                     b.file.path().string(), used));
    const LinearInput input = linear_input(b, x, op.weights);
    const PlanArg logits = b.scratch(int64_t{rows} * experts * 4);
    emit_linear(b, b.name(ids) + ".logits", x, input, op.weights, logits);
    const int64_t groups = op.integer("groups");
    if (groups > 32)
        throw ModelError(fmt::format("{}: {} groups of experts; the router kernel takes up to 32",
                                     b.file.path().string(), groups));
    KernelSpec spec{"router",
                    {{"kExperts", constant(experts)},
                     {"kUsed", constant(used)},
                     {"kRenormalise", constant(op.integer("renormalise") != 0)}}};
    if (groups > 1)
        spec = {"router_groups",
                {{"kExperts", constant(experts)},
                 {"kUsed", constant(used)},
                 {"kGroups", constant(groups)},
                 {"kGroupsUsed", constant(op.integer("groups_used"))}}};
    EmittedStep step{.label = b.name(ids),
                     .spec = std::move(spec),
                     .args = {b.step(x), logits, b.out(ids, Form::kIds), b.out(shares)},
                     .groups = {rows, 1, 1},
                     .rows_axis = rows > 1 ? 0 : -1};
    step.cost.activation_bytes = rows * (experts + 2 * used) * 4;
    step.cost.operations = rows * experts * (used + 4);
    b.emit(std::move(step));
}

// Rows of one expert in a stack of them, which must be whole tiles for an expert to start at one.
int64_t expert_rows(const PlanBuilder& b, const std::string& tensor, int64_t experts) {
    const int64_t rows = b.tensor_rows(tensor) / experts;
    if (rows % 32 != 0)
        throw ModelError(
            fmt::format("{}: tensor '{}' has {} rows per expert; hetune needs a multiple "
                        "of 32",
                        b.file.path().string(), tensor, rows));
    return rows;
}

// Sizes of an `experts` op, and the forms its values take.
struct Mixture {
    Mixture(PlanBuilder& b, const Op& op)
        : experts(op.integer("experts")),
          used(op.integer("used")),
          inner(expert_rows(b, op.weights[0], experts)),
          hidden(expert_rows(b, op.weights[2], experts)),
          width(b.width(op.inputs[0])),
          rows(b.rows(op.inputs[0])),
          gate(b.format(op.weights[0])),
          up(b.format(op.weights[1])),
          down(b.format(op.weights[2])),
          input(linear_input(b, op.inputs[0], std::span(op.weights).first(2))),
          quantised(b.options.activations == Activations::kQuantised && down.integer) {}

    int64_t experts, used, inner, hidden, width, rows;
    const QuantFormat &gate, &up, &down;
    LinearInput input;
    bool quantised;  // what goes into `down`

    int64_t slots() const { return rows * used; }
    int64_t act_bytes() const {
        return slots() * (quantised ? inner / 32 * kXBlockBytes : inner * 4);
    }
    int64_t input_bytes() const {
        return rows * (input.quantised ? width / 32 * kXBlockBytes : width * 4);
    }
    // With every slot on another expert, as far as there are so many.
    int64_t active() const { return std::min(experts, slots()); }

    StepCost gate_up_cost() const {
        return {.weight_bytes =
                    active() * (tiles_bytes(gate, inner, width) + tiles_bytes(up, inner, width)),
                .activation_bytes = act_bytes() + input_bytes(),
                .operations = 4 * slots() * inner * width};
    }
    StepCost down_cost(int64_t rows_out) const {
        return {.weight_bytes = active() * tiles_bytes(down, hidden, inner),
                .activation_bytes = act_bytes() + rows_out * hidden * 4,
                .operations = 2 * slots() * inner * hidden};
    }
    // Constants that both forms of gate and up have.
    std::map<std::string, std::string> gate_up_constants(int waves) const {
        return {{"Gate", gate.name},
                {"Up", up.name},
                {"kUsed", constant(used)},
                {"kRows", constant(inner)},
                {"kCols", constant(width)},
                {"kQuantisedInput", constant(input.quantised)},
                {"kQuantisedOutput", constant(quantised)},
                {"kWaves", constant(waves)}};
    }
};

void lower_scale_shares(PlanBuilder& b, const Op& op) {
    const ValueId y = op.outputs[0];
    const int64_t used = op.integer("used"), slots = b.rows(y) * used;
    const PlanArg ids = b.in(op.inputs[0], Form::kIds), shares = b.in(op.inputs[1]);
    EmittedStep step{.label = b.name(y),
                     .spec = {"scale_shares", {{"kUsed", constant(used)}}},
                     .args = {b.step(y), ids, shares, b.raw(op.weights[0]), b.out(y)},
                     .groups = {ceil_div(slots, 32), 1, 1}};
    step.cost.activation_bytes = 3 * slots * 4;
    step.cost.operations = slots;
    b.emit(std::move(step));
}

// Each token reads the experts that it uses.
void lower_experts(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], ids = op.inputs[1], shares = op.inputs[2], y = op.outputs[0];
    const Mixture m(b, op);
    const auto rows = static_cast<uint32_t>(m.rows);
    const PlanArg act = b.scratch(m.act_bytes());
    const PlanArg chosen = b.in(ids, Form::kIds);
    const int up_waves = b.tunable(
        "experts_gate_up", "kWaves",
        std::min(8, default_waves(b.arch, m.inner / 32 * m.slots(), m.width / m.gate.tile_elems)));
    auto constants = m.gate_up_constants(up_waves);
    constants["kGateScale"] = constant(has_gate_scale(op));
    b.emit({.label = b.name(y) + ".gate_up",
            .spec = {"experts_gate_up", std::move(constants)},
            .args = {b.step(x), chosen, b.tiles(op.weights[0]), b.tiles(op.weights[1]),
                     has_gate_scale(op) ? b.raw(op.weights[3]) : b.none(), m.input.arg, act},
            .groups = {static_cast<uint32_t>(m.inner / 32), static_cast<uint32_t>(m.used), rows},
            .threads = static_cast<uint32_t>(32 * up_waves),
            .rows_axis = rows > 1 ? 2 : -1,
            .cost = m.gate_up_cost()});

    const int down_waves = b.waves("experts_down", static_cast<int>(std::min<int64_t>(8, m.used)));
    b.emit({.label = b.name(y),
            .spec = {"experts_down",
                     {{"Quant", m.down.name},
                      {"kUsed", constant(m.used)},
                      {"kRows", constant(m.hidden)},
                      {"kCols", constant(m.inner)},
                      {"kQuantisedInput", constant(m.quantised)},
                      {"kWaves", constant(down_waves)}}},
            .args = {b.step(x), chosen, b.in(shares), b.tiles(op.weights[2]), act, b.out(y)},
            .groups = {static_cast<uint32_t>(m.hidden / 32), rows, 1},
            .threads = static_cast<uint32_t>(32 * down_waves),
            .rows_axis = rows > 1 ? 1 : -1,
            .cost = m.down_cost(m.rows)});
}

// From so many rows on slots are sorted by expert, so that tokens share an expert's weights: below,
// sorting costs more than the few shared reads give back.
constexpr int kGroupedRows = 16;

bool many_rows(const PlanBuilder& b, const Op& op) {
    return b.rows(op.inputs[0]) >= kGroupedRows && !has_gate_scale(op);
}

void lower_grouped_experts(PlanBuilder& b, const Op& op) {
    const ValueId y = op.outputs[0];
    const Mixture m(b, op);
    const int tokens = b.tunable("experts_gate_up_grouped", "kTokens", 8);
    const int64_t chunks =
        m.slots() / tokens + m.active();  // each expert may have one that is not full
    const PlanArg act = b.scratch(m.act_bytes());
    const PlanArg order = b.scratch(m.slots() * 4), pieces = b.scratch(chunks * kExpertChunkBytes);
    const PlanArg parts = b.scratch(m.slots() * m.hidden * 4);

    emit_expert_groups(b, op, tokens, chunks, order, pieces);

    const int up_waves = b.tunable(
        "experts_gate_up_grouped", "kWaves",
        std::min(4, default_waves(b.arch, m.inner / 32 * chunks, m.width / m.gate.tile_elems)));
    auto constants = m.gate_up_constants(up_waves);
    constants["kTokens"] = constant(tokens);
    b.emit(
        {.label = b.name(y) + ".gate_up",
         .spec = {"experts_gate_up_grouped", std::move(constants)},
         .args = {order, pieces, b.tiles(op.weights[0]), b.tiles(op.weights[1]), m.input.arg, act},
         .groups = {static_cast<uint32_t>(m.inner / 32), static_cast<uint32_t>(chunks), 1},
         .threads = static_cast<uint32_t>(32 * up_waves),
         .cost = m.gate_up_cost()});

    const int down_waves = b.tunable(
        "experts_down_grouped", "kWaves",
        std::min(4, default_waves(b.arch, m.hidden / 32 * chunks, m.inner / m.down.tile_elems)));
    b.emit({.label = b.name(y) + ".down",
            .spec = {"experts_down_grouped",
                     {{"Quant", m.down.name},
                      {"kRows", constant(m.hidden)},
                      {"kCols", constant(m.inner)},
                      {"kTokens", constant(tokens)},
                      {"kQuantisedInput", constant(m.quantised)},
                      {"kWaves", constant(down_waves)}}},
            .args = {order, pieces, b.tiles(op.weights[2]), act, parts},
            .groups = {static_cast<uint32_t>(m.hidden / 32), static_cast<uint32_t>(chunks), 1},
            .threads = static_cast<uint32_t>(32 * down_waves),
            .cost = m.down_cost(m.slots())});

    emit_experts_sum(b, op, parts);
}

void lower_scale_by_sigmoid(PlanBuilder& b, const Op& op) {
    const ValueId x = op.inputs[0], y = op.outputs[0];
    const int waves = b.waves("scale_by_sigmoid", 4);
    const PlanArg in = b.in(x), gate = b.in(op.inputs[1]);
    EmittedStep step{
        .label = b.name(y),
        .spec = {"scale_by_sigmoid",
                 {{"kCols", constant(b.width(y))}, {"kWaves", constant(waves)}}},
        .args = {b.step(x), in, gate, b.out(y)},
        .groups = {ceil_div(b.width(y), 32 * waves), static_cast<uint32_t>(b.rows(y)), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = b.rows(y) > 1 ? 1 : -1};
    step.cost.activation_bytes = 2 * b.rows(y) * b.width(y) * 4;
    step.cost.operations = b.rows(y) * b.width(y);
    b.emit(std::move(step));
}

const RegisterLowering kMoeLowerings[] = {
    RegisterLowering{{.layer = "router", .variant = "wave", .emit = lower_router}},
    RegisterLowering{{.layer = "scale_shares", .variant = "slots", .emit = lower_scale_shares}},
    RegisterLowering{{.layer = "experts", .variant = "per_token", .emit = lower_experts}},
    RegisterLowering{{.layer = "experts",
                      .variant = "grouped",
                      .priority = 10,
                      .fits = many_rows,
                      .emit = lower_grouped_experts}},
    RegisterLowering{
        {.layer = "scale_by_sigmoid", .variant = "row", .emit = lower_scale_by_sigmoid}},
};

}  // namespace
}  // namespace hetune
