#include "planner/lower/plan_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <utility>

#include "kernel_templates/catalogue.h"
#include "planner/lower/lowerings.h"

namespace hetune {
namespace {

// The kernel that computes one row by the same sums.
KernelSpec for_one_row(KernelSpec spec) {
    if (const auto tokens = spec.constants.find("kTokens"); tokens != spec.constants.end())
        tokens->second = "1";
    for (const char* of_batches : {"kMatrix", "kTiledInput"})
        if (const auto found = spec.constants.find(of_batches); found != spec.constants.end())
            found->second = "false";
    return spec;
}

template <class T>
std::string first_output(const PlanBuilder& builder, const T& op) {
    const auto outputs = outputs_of(op);
    return outputs.empty() ? "" : builder.name(outputs[0]);
}

// The lowerings that fit, in the order of their list; throws ModelError when there is none.
template <class T>
std::vector<const Lowering<T>*> fitting_lowerings(const PlanBuilder& builder, const T& op) {
    std::vector<const Lowering<T>*> fitting;
    for (const Lowering<T>& candidate : lowerings(op))
        if (candidate.fits == nullptr || candidate.fits(builder, op)) fitting.push_back(&candidate);
    // PlanOptions::without is for where there is another way.
    std::ranges::stable_partition(fitting, [&](const Lowering<T>* candidate) {
        return !builder.options.without.contains(lowering_name(T::kKind, candidate->variant));
    });
    if (!fitting.empty()) return fitting;
    const auto weights = weights_of(op);
    const std::string quant = weights.empty() ? "" : builder.file.tensor(weights[0]).type_name();
    throw ModelError(fmt::format("{}: no kernel on {} for '{}' ({}{}{})",
                                 builder.file.path().string(), builder.arch.name, T::kKind,
                                 first_output(builder, op), quant.empty() ? "" : ", ", quant));
}

}  // namespace

PlanBuilder::PlanBuilder(const FusedGraph& fused, const ModelFile& the_file, const Arch& the_arch,
                         const PlanOptions& the_options, const std::map<int, OpTunables>& the_tuned)
    : graph(fused.model),
      ops(fused.ops),
      file(the_file),
      arch(the_arch),
      options(the_options),
      tuned(the_tuned),
      places_(fused.model.values.size()) {
    for (size_t i = 0; i < ops.size(); ++i) {
        bool last = std::holds_alternative<ops::LastRow>(ops[i]) && !options.each_row();
        for (const ValueId input : inputs_of(ops[i]))
            last |= places_[static_cast<size_t>(input)].after_last_row;
        for (const ValueId input : inputs_of(ops[i])) {
            Place& place = places_[static_cast<size_t>(input)];
            // The output may be made again, for another row.
            place.last_use = last && !place.after_last_row ? ops.size() : i;
        }
        for (const ValueId output : outputs_of(ops[i])) {
            places_[static_cast<size_t>(output)].last_use = i;
            places_[static_cast<size_t>(output)].after_last_row = last;
        }
    }
    places_[static_cast<size_t>(graph.logits)].last_use = ops.size();
    plan.step_buffer = buffer("step", BufferRole::kStep, step_bytes(options.rows));
    plan.tokens_buffer = buffer("tokens", BufferRole::kTokens, options.rows * 4);
    arena_buffer_ = buffer("scratch", BufferRole::kScratch, 0);
}

int PlanBuilder::rows(ValueId value) const {
    return places_[static_cast<size_t>(value)].after_last_row ? 1 : options.rows;
}
int64_t PlanBuilder::width(ValueId value) const {
    return graph.values[static_cast<size_t>(value)].width;
}
const std::string& PlanBuilder::name(ValueId value) const {
    return graph.values[static_cast<size_t>(value)].name;
}

int64_t PlanBuilder::bytes_of(ValueId value, Form form) const {
    const int64_t count = rows(value) * width(value);
    switch (form) {
        case Form::kFloat:
        case Form::kIds:
            return count * 4;
        case Form::kQuantised:
            return count / 32 * kXBlockBytes;
        case Form::kTiled:
            return (rows(value) + 7) / 8 * (width(value) / 32) * kXTileBytes;
        case Form::kSquares:
            return (count + 31) / 32 * 4;
        case Form::kHalf:
            return count * 2 + rows(value) * 16;
    }
    return 0;
}

ValueId PlanBuilder::root(ValueId value) const {
    for (auto at = aliases_.find(value); at != aliases_.end(); at = aliases_.find(value))
        value = at->second;
    return value;
}

bool PlanBuilder::has(ValueId value, Form form) const {
    return places_[static_cast<size_t>(root(value))].offsets.contains(form);
}

PlanArg PlanBuilder::place_of(ValueId value, Form form) const {
    const int64_t at = places_[static_cast<size_t>(root(value))].offsets.at(form);
    return {at < 0 ? plan.logits_buffer : arena_buffer_, std::max<int64_t>(at, 0),
            bytes_of(value, form)};
}

PlanArg PlanBuilder::in_due(ValueId value, Form form) { return place_of(value, form); }

PlanArg PlanBuilder::in(ValueId value, Form form) {
    if (has(value, Form::kSquares))
        throw std::logic_error(fmt::format("{} still lacks the factor of its norm", name(value)));
    if (has(value, form)) return place_of(value, form);
    if (!has(value, Form::kFloat))
        throw std::logic_error(
            fmt::format("{} has none of the forms that are asked for", name(value)));
    // Other forms are made where they are first asked for, and shared from then on.
    if (form == Form::kQuantised) {
        make_quantised(value);
    } else {
        assert(form == Form::kHalf);
        const PlanArg from = in(value);
        emit_half_rows({.label = name(value) + ".half",
                        .step = step(value),
                        .from = from,
                        .to = out(value, Form::kHalf),
                        .cols = width(value),
                        .rows = rows(value)});
    }
    return place_of(value, form);
}

void PlanBuilder::make_quantised(ValueId value) {
    const int64_t cols = width(value);
    const int waves = this->waves("quantise", 4);
    const PlanArg from = in(value, Form::kFloat);
    const PlanArg to = out(value, Form::kQuantised);
    EmittedStep made{
        .label = name(value) + ".q8",
        .spec = {"quantise", {{"kCols", constant(cols)}, {"kWaves", constant(int64_t{waves})}}},
        .args = {step(value), from, to},
        .groups = {static_cast<uint32_t>((cols / 32 + waves - 1) / waves),
                   static_cast<uint32_t>(rows(value)), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = rows(value) > 1 ? 1 : -1};
    made.cost.activation_bytes = rows(value) * (cols * 4 + cols / 32 * kXBlockBytes);
    emit(std::move(made));
}

PlanArg PlanBuilder::in_tiles(ValueId value) {
    if (has(value, Form::kTiled)) return place_of(value, Form::kTiled);
    const int64_t cols = width(value);
    const int waves = this->waves("token_tiles", 4);
    const PlanArg from = place_of(value, Form::kQuantised), to = out(value, Form::kTiled);
    EmittedStep made{
        .label = name(value) + ".tiles",
        .spec = {"token_tiles", {{"kCols", constant(cols)}, {"kWaves", constant(int64_t{waves})}}},
        .args = {step(value), from, to},
        .groups = {static_cast<uint32_t>((cols / 32 + waves - 1) / waves),
                   static_cast<uint32_t>((rows(value) + 7) / 8), 1},
        .threads = static_cast<uint32_t>(32 * waves),
        .rows_axis = 1,
        .rows_per_group = 8};
    made.cost.activation_bytes = bytes_of(value, Form::kQuantised) + bytes_of(value, Form::kTiled);
    emit(std::move(made));
    return to;
}

void PlanBuilder::emit_half_rows(const HalfRows& r) {
    const int waves = tunable("half_rows", "kWaves", half_rows_waves(arch, r.cols));
    EmittedStep made{.label = r.label,
                     .spec = {"half_rows",
                              {{"kCols", constant(r.cols)},
                               {"kPerRow", constant(r.per_row)},
                               {"kNorm", constant(false)},
                               {"kEps", constant(0.0)},
                               {"kFloats", constant(false)},
                               {"kWaves", constant(waves)}}},
                     .args = {r.step, r.from, none(), none(), r.to},
                     .groups = {static_cast<uint32_t>(r.rows), 1, 1},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .rows_axis = r.rows > 1 && r.per_row == 1 ? 0 : -1};
    made.cost.activation_bytes = r.rows * (r.cols * 6 + 16);
    emit(std::move(made));
}

PlanArg PlanBuilder::out(ValueId value, Form form) {
    Place& place = places_[static_cast<size_t>(root(value))];
    if (value == graph.logits && form == Form::kFloat) {
        plan.logits_buffer = buffer("logits", BufferRole::kLogits, bytes_of(value, form));
        place.offsets[form] = -1;
        return place_of(value, form);
    }
    assert(!place.offsets.contains(form));
    place.offsets[form] = arena_.take(bytes_of(value, form));
    return place_of(value, form);
}

void PlanBuilder::alias(ValueId value, ValueId other) {
    aliases_[value] = root(other);
    Place& place = places_[static_cast<size_t>(root(other))];
    place.last_use = std::max(place.last_use, places_[static_cast<size_t>(value)].last_use);
}

PlanArg PlanBuilder::scratch(int64_t bytes) {
    op_scratch_.push_back(arena_.take(bytes));
    return {arena_buffer_, op_scratch_.back(), bytes};
}

int PlanBuilder::buffer(const std::string& buffer_name, BufferRole role, int64_t bytes,
                        int64_t per_context, const std::string& tensor) {
    const auto [at, added] =
        buffers_by_name_.emplace(buffer_name, static_cast<int>(plan.buffers.size()));
    if (added) plan.buffers.push_back({buffer_name, role, bytes, per_context, tensor});
    return at->second;
}

const QuantFormat& PlanBuilder::format(const std::string& tensor) const {
    const Tensor& t = file.tensor(tensor);
    const QuantFormat* found = find_quant(t.ggml_type);
    if (found == nullptr)
        throw ModelError(fmt::format("{}: tensor '{}' is {}, for which hetune has no kernels",
                                     file.path().string(), tensor, t.type_name()));
    if (t.cols() % found->tile_elems != 0)
        throw ModelError(
            fmt::format("{}: tensor '{}' has rows of {} values; {} needs a multiple of {}",
                        file.path().string(), tensor, t.cols(), t.type_name(), found->tile_elems));
    return *found;
}

int64_t PlanBuilder::tensor_rows(const std::string& tensor) const {
    return file.tensor(tensor).rows();
}

PlanArg PlanBuilder::tiles(const std::string& tensor) {
    const Tensor& t = file.tensor(tensor);
    return {buffer(tensor, BufferRole::kTiles, tiles_bytes(format(tensor), t.rows(), t.cols()), 0,
                   tensor),
            0};
}

PlanArg PlanBuilder::raw(const std::string& tensor) {
    return {buffer(tensor, BufferRole::kRaw, file.tensor(tensor).bytes(), 0, tensor), 0};
}

PlanArg PlanBuilder::turns() {
    return {buffer("rope_turns", BufferRole::kTurns,
                   static_cast<int64_t>(std::max<size_t>(graph.rope_turns.size(), 1)) * 8),
            0};
}

PlanArg PlanBuilder::kv(int layer, const char* which, int64_t heads, int64_t head_size) {
    if (options.kv == KvType::kQ8 && head_size % 16 != 0)
        throw ModelError(fmt::format(
            "{}: heads of {} values; ModelOptions::kv_type = \"q8\" needs a multiple of 16",
            file.path().string(), head_size));
    return {buffer(fmt::format("kv.{}.{}", layer, which), BufferRole::kKv, 0,
                   kv_row_bytes(options.kv, heads, head_size)),
            0};
}

PlanArg PlanBuilder::pages() { return {buffer("pages", BufferRole::kPages, 0), 0}; }

PlanArg PlanBuilder::state(const std::string& state_name, int64_t bytes) {
    return {buffer(state_name, BufferRole::kState, bytes), 0};
}

PlanArg PlanBuilder::counters(const std::string& counters_name, int64_t bytes) {
    return {buffer(counters_name, BufferRole::kCounters, bytes), 0};
}

PlanArg PlanBuilder::step(ValueId value) {
    if (rows(value) == options.rows) return {plan.step_buffer, 0};
    plan.last_step_buffer = buffer("last_step", BufferRole::kStep, step_bytes(1));
    return {plan.last_step_buffer, 0};
}

PlanArg PlanBuilder::tokens() { return {plan.tokens_buffer, 0}; }
PlanArg PlanBuilder::none() { return {plan.step_buffer, 0}; }

int PlanBuilder::tunable(const std::string& kernel, const std::string& tunable_name,
                         int fallback) const {
    const auto given = [&](const auto& by_kernel) -> std::optional<int> {
        const auto of_kernel = by_kernel.find(kernel);
        if (of_kernel == by_kernel.end()) return std::nullopt;
        const auto value = of_kernel->second.find(tunable_name);
        if (value == of_kernel->second.end()) return std::nullopt;
        return std::stoi(value->second);
    };
    std::optional<int> value = given(options.tunables);
    if (const auto of_op = tuned.find(static_cast<int>(op_)); !value && of_op != tuned.end())
        value = given(of_op->second);
    const auto halved = halved_.find(kernel);
    const int chosen = value.value_or(fallback);
    return halved == halved_.end() ? chosen : std::max(1, chosen >> halved->second);
}

void PlanBuilder::emit(EmittedStep emitted) {
    assert(find_template(emitted.spec.name) != nullptr);
    const auto& params = find_template(emitted.spec.name)->params;
    assert(params.size() == emitted.args.size());
    PlanStep made{.label = std::move(emitted.label),
                  .kernel = plan.add_kernel(emitted.spec),
                  .args = std::move(emitted.args),
                  .groups = {emitted.groups[0], emitted.groups[1], emitted.groups[2]},
                  .threads = emitted.threads,
                  .rows_axis = emitted.rows_axis,
                  .rows_per_group = emitted.rows_per_group,
                  .cost = emitted.cost,
                  .op = static_cast<int>(op_)};
    for (const ValueId value : outputs_of(ops[op_])) {
        if (!has(value, Form::kFloat) || has(value, Form::kSquares)) continue;
        for (size_t i = 0; i < made.args.size(); ++i)
            if (made.args[i] == place_of(value, Form::kFloat) &&
                (params[i].role == ParamRole::kOutput || params[i].role == ParamRole::kInOut))
                made.values.push_back({name(value), static_cast<int>(i), width(value)});
    }
    plan.steps.push_back(std::move(made));
}

PlanBuilder::State PlanBuilder::state() const {
    return {plan.steps.size(),  plan.kernels.size(),   plan.buffers.size(),
            plan.logits_buffer, plan.last_step_buffer, places_,
            aliases_,           buffers_by_name_,      arena_};
}

void PlanBuilder::restore(State state) {
    plan.steps.resize(state.steps);
    plan.kernels.resize(state.kernels);
    plan.buffers.resize(state.buffers);
    plan.logits_buffer = state.logits_buffer;
    plan.last_step_buffer = state.last_step_buffer;
    places_ = std::move(state.places);
    aliases_ = std::move(state.aliases);
    buffers_by_name_ = std::move(state.buffers_by_name);
    arena_ = std::move(state.arena);
    op_scratch_.clear();
}

bool PlanBuilder::is_refused(const KernelSpec& spec) const {
    if (options.refused.contains(spec.to_string())) return true;
    return options.decodes() && options.refused.contains(for_one_row(spec).to_string());
}

const KernelSpec* PlanBuilder::refused_kernel(size_t first) const {
    for (size_t i = first; i < plan.steps.size(); ++i)
        if (const KernelSpec& spec = plan.spec(plan.steps[i]); is_refused(spec)) return &spec;
    return nullptr;
}

int PlanBuilder::batch_refusals(const std::string& kernel) const {
    const auto found = batch_refusals_.find(kernel);
    return found == batch_refusals_.end() ? 0 : found->second;
}

// The first lowering and tunables whose kernels are not refused.
template <class T>
void PlanBuilder::lower_with_variants(const T& op) {
    const auto fitting = fitting_lowerings(*this, op);
    if (options.refused.empty()) return fitting[0]->emit(*this, op);
    const State before = state();
    std::string last_refused, reason;
    for (const Lowering<T>* lowering : fitting) {
        halved_.clear();
        for (std::string tried;;) {
            lowering->emit(*this, op);
            const KernelSpec* refused = refused_kernel(before.steps);
            if (refused == nullptr) {
                halved_.clear();
                batch_refusals_.clear();
                return;
            }
            // The refusal is this kernel's, or that of the kernel for one row.
            last_refused = refused->to_string();
            reason = options.refused.at(options.refused.contains(last_refused)
                                            ? last_refused
                                            : for_one_row(*refused).to_string());
            const bool for_batch = options.decodes() && options.rows > 1 &&
                                   !options.refused.contains(for_one_row(*refused).to_string());
            ++(for_batch ? batch_refusals_ : halved_)[refused->name];
            restore(before);
            if (std::exchange(tried, last_refused) == last_refused) break;  // it has no less
        }
    }
    halved_.clear();
    batch_refusals_.clear();
    throw NoKernelLeft(
        T::kKind, fmt::format("{}: all kernels on {} for '{}' ({}) are refused; the last is {}: {}",
                              file.path().string(), arch.name, T::kKind, first_output(*this, op),
                              last_refused, reason));
}

void PlanBuilder::lower_op(size_t index) {
    op_ = index;
    std::visit([this](const auto& op) { lower_with_variants(op); }, ops[index]);
    for (const int64_t offset : op_scratch_) arena_.give_back(offset);
    op_scratch_.clear();
    for (size_t v = 0; v < places_.size(); ++v) {
        Place& place = places_[v];
        if (place.last_use > index || place.offsets.empty()) continue;
        for (const auto& [form, offset] : place.offsets)
            if (offset >= 0) arena_.give_back(offset);
        place.offsets.clear();
    }
}

void PlanBuilder::finish() {
    plan.buffers[static_cast<size_t>(arena_buffer_)].bytes = arena_.bytes();
    plan.model = graph.name;
    plan.architecture = graph.architecture;
    plan.arch = arch.name;
    plan.options = options;
    plan.vocabulary = graph.vocabulary;
}

}  // namespace hetune
