// Mixture of experts: a router whose choice stays on the device, and products with the active
// experts' pieces of the stacked matrices.
#include "planner/lower/moe.h"

#include <fmt/format.h>

#include <algorithm>

#include "planner/lower/linear.h"
#include "planner/lower/lowerings.h"
#include "planner/lower/matrix.h"

namespace hetune {
void emit_expert_groups(PlanBuilder& b, const ops::Experts& op, int tokens, int64_t chunks,
                        PlanArg order, PlanArg pieces) {
    const ValueId x = op.x, ids = op.ids;
    const int64_t experts = op.experts, used = op.used;
    const int waves =
        b.arch.waves(static_cast<int>(std::clamp<int64_t>(b.rows(x) * used / 32, 1, 16)));
    EmittedStep sort{.label = b.name(op.y) + ".groups",
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

void emit_experts_sum(PlanBuilder& b, const ops::Experts& op, PlanArg parts) {
    const ValueId x = op.x, shares = op.shares, y = op.y;
    const int64_t used = op.used, hidden = b.width(y), rows = b.rows(x);
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

void lower_router(PlanBuilder& b, const ops::Router& op) {
    const ValueId x = op.x, ids = op.ids, shares = op.shares;
    const int64_t experts = op.experts, used = op.used;
    const auto rows = static_cast<uint32_t>(b.rows(x));
    if (used > 32)
        throw ModelError(fmt::format("{}: {} experts per token; the router kernel takes up to 32",
                                     b.file.path().string(), used));
    const LinearInput input = linear_input(b, x, {op.weight});
    const PlanArg logits = b.scratch(int64_t{rows} * experts * 4);
    emit_linear(b, b.name(ids) + ".logits", x, input, op.weight, {}, logits);
    const int64_t groups = op.groups;
    if (groups > 32)
        throw ModelError(fmt::format("{}: {} groups of experts; the router kernel takes up to 32",
                                     b.file.path().string(), groups));
    KernelSpec spec{"router",
                    {{"kExperts", constant(experts)},
                     {"kUsed", constant(used)},
                     {"kRenormalise", constant(op.renormalise)}}};
    if (groups > 1)
        spec = {"router_groups",
                {{"kExperts", constant(experts)},
                 {"kUsed", constant(used)},
                 {"kGroups", constant(groups)},
                 {"kGroupsUsed", constant(op.groups_used)}}};
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

// Sizes of a mixture, and the forms its values take.
struct Mixture {
    Mixture(PlanBuilder& b, const ops::Experts& op)
        : experts(op.experts),
          used(op.used),
          inner(expert_rows(b, op.gate, experts)),
          hidden(expert_rows(b, op.down, experts)),
          width(b.width(op.x)),
          rows(b.rows(op.x)),
          gate(b.format(op.gate)),
          up(b.format(op.up)),
          down(b.format(op.down)),
          input(linear_input(b, op.x, {op.gate, op.up})),
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

void lower_scale_shares(PlanBuilder& b, const ops::ScaleShares& op) {
    const ValueId y = op.y;
    const int64_t used = op.used, slots = b.rows(y) * used;
    const PlanArg ids = b.in(op.ids, Form::kIds), shares = b.in(op.shares);
    EmittedStep step{.label = b.name(y),
                     .spec = {"scale_shares", {{"kUsed", constant(used)}}},
                     .args = {b.step(y), ids, shares, b.raw(op.factors), b.out(y)},
                     .groups = {ceil_div(slots, 32), 1, 1}};
    step.cost.activation_bytes = 3 * slots * 4;
    step.cost.operations = slots;
    b.emit(std::move(step));
}

// Each token reads the experts that it uses.
void lower_experts(PlanBuilder& b, const ops::Experts& op) {
    const ValueId x = op.x, ids = op.ids, shares = op.shares, y = op.y;
    const Mixture m(b, op);
    const auto rows = static_cast<uint32_t>(m.rows);
    const PlanArg act = b.scratch(m.act_bytes());
    const PlanArg chosen = b.in(ids, Form::kIds);
    const int up_waves = b.tunable(
        "experts_gate_up", "kWaves",
        std::min(8, default_waves(b.arch, m.inner / 32 * m.slots(), m.width / m.gate.tile_elems)));
    auto constants = m.gate_up_constants(up_waves);
    constants["kGateScale"] = constant(!op.gate_scale.empty());
    b.emit({.label = b.name(y) + ".gate_up",
            .spec = {"experts_gate_up", std::move(constants)},
            .args = {b.step(x), chosen, b.tiles(op.gate), b.tiles(op.up),
                     op.gate_scale.empty() ? b.none() : b.raw(op.gate_scale), m.input.arg, act},
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
            .args = {b.step(x), chosen, b.in(shares), b.tiles(op.down), act, b.out(y)},
            .groups = {static_cast<uint32_t>(m.hidden / 32), rows, 1},
            .threads = static_cast<uint32_t>(32 * down_waves),
            .rows_axis = rows > 1 ? 1 : -1,
            .cost = m.down_cost(m.rows)});
}

// From so many rows on slots are sorted by expert, so that tokens share an expert's weights: below,
// sorting costs more than the few shared reads give back.
constexpr int kGroupedRows = 16;

// Only the kernels that take each token by itself multiply by gate_scale: no file of these families
// has had one so far.
bool many_rows(const PlanBuilder& b, const ops::Experts& op) {
    return b.rows(op.x) >= kGroupedRows && op.gate_scale.empty();
}

void lower_grouped_experts(PlanBuilder& b, const ops::Experts& op) {
    const ValueId y = op.y;
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
    b.emit({.label = b.name(y) + ".gate_up",
            .spec = {"experts_gate_up_grouped", std::move(constants)},
            .args = {order, pieces, b.tiles(op.gate), b.tiles(op.up), m.input.arg, act},
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
            .args = {order, pieces, b.tiles(op.down), act, parts},
            .groups = {static_cast<uint32_t>(m.hidden / 32), static_cast<uint32_t>(chunks), 1},
            .threads = static_cast<uint32_t>(32 * down_waves),
            .cost = m.down_cost(m.slots())});

    emit_experts_sum(b, op, parts);
}

void lower_scale_by_sigmoid(PlanBuilder& b, const ops::ScaleBySigmoid& op) {
    const ValueId x = op.x, y = op.y;
    const int waves = b.waves("scale_by_sigmoid", 4);
    const PlanArg in = b.in(x), gate = b.in(op.gate);
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

}  // namespace

Lowerings<ops::Router> lowerings(const ops::Router&) {
    static const Lowering<ops::Router> list[] = {{.variant = "wave", .emit = lower_router}};
    return list;
}
Lowerings<ops::ScaleShares> lowerings(const ops::ScaleShares&) {
    static const Lowering<ops::ScaleShares> list[] = {
        {.variant = "slots", .emit = lower_scale_shares}};
    return list;
}
Lowerings<ops::Experts> lowerings(const ops::Experts&) {
    static const Lowering<ops::Experts> list[] = {
        kExpertsByMatrix,
        {.variant = "grouped", .fits = many_rows, .emit = lower_grouped_experts},
        {.variant = "per_token", .emit = lower_experts}};
    return list;
}
Lowerings<ops::ScaleBySigmoid> lowerings(const ops::ScaleBySigmoid&) {
    static const Lowering<ops::ScaleBySigmoid> list[] = {
        {.variant = "row", .emit = lower_scale_by_sigmoid}};
    return list;
}

}  // namespace hetune
