#include "runtime/engine/stepper.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "runtime/load/bad_numbers.h"

namespace hetune {
namespace {

using Path = SequenceState::Path;

int rows_of(const BoundPlan& plan) { return plan.plan().options.rows; }

}  // namespace

Stepper::Stepper(const LoadedModel& model, ContextMemory& memory)
    : model_(model), device_(model.device()), memory_(memory), prefixes_(model, memory) {
    const ModelPlans& plans = model.plans();
    allocate_shared();
    const LoadOptions& options = model.options();
    for (size_t i = 0; i < plans.samplers.size(); ++i) decoders_.push_back(bind(plans.steps[i]));
    prefill_ = bind(plans.of(prefill_step(options, device_.arch())));
    if (options.all_logits) each_ = bind(plans.of(logits_step(options, device_.arch())));
    if (options.hidden_states) hidden_ = bind(plans.of(hidden_step(options, device_.arch())));
    std::vector<Draws::Decoder> decoders;
    for (size_t i = 0; i < decoders_.size(); ++i)
        decoders.push_back({*decoders_[i].plan, plans.samplers[i]});
    draws_ = std::make_unique<Draws>(model, memory, decoders);
    reached_.resize(static_cast<size_t>(memory.slots()));
    for (const Bound& bound : decoders_)
        for (const PlanBuffer& buffer : bound.plan->plan().buffers) {
            if (buffer.role != BufferRole::kCounters) continue;
            Buffer& counters = *shared_.at(buffer.name);
            device_.fill(counters, 0, counters.bytes(), 0);
        }
    device_.synchronize();
}

// Launches in flight still write to memory that goes with this stepper.
Stepper::~Stepper() {
    try {
        device_.synchronize();
    } catch (const DeviceError&) {
        // The device failed before: nothing is in flight any more.
    }
}

void Stepper::allocate_shared() {
    const ModelPlans& plans = model_.plans();
    for (const Plan& plan : plans.steps)
        for (const PlanBuffer& buffer : plan.buffers)
            if (buffer.role == BufferRole::kScratch || buffer.role == BufferRole::kCounters ||
                (buffer.role == BufferRole::kLogits && !plan.options.each_row()))
                shared(buffer);
}

// Plans share these; the largest scratch wins.
Buffer* Stepper::shared(const PlanBuffer& buffer) {
    auto& made = shared_[buffer.name];
    if (made == nullptr || made->bytes() < static_cast<size_t>(buffer.bytes))
        made = device_.allocate(static_cast<size_t>(std::max<int64_t>(buffer.bytes, 1)));
    return made.get();
}

Stepper::Bound Stepper::bind(const Plan& plan) {
    Bound bound;
    std::vector<Buffer*> buffers;
    for (const PlanBuffer& buffer : plan.buffers) {
        const bool own_logits = buffer.role == BufferRole::kLogits && plan.options.each_row();
        const auto found = shared_.find(buffer.name);
        if (Buffer* weight = model_.weight(buffer.name)) {
            buffers.push_back(weight);
        } else if (Buffer* context = memory_.find(buffer.name)) {
            buffers.push_back(context);
        } else if (found != shared_.end() && !own_logits) {
            buffers.push_back(found->second.get());
        } else {
            bound.own.push_back(device_.allocate(static_cast<size_t>(buffer.bytes)));
            buffers.push_back(bound.own.back().get());
        }
    }
    bound.step = buffers[static_cast<size_t>(plan.step_buffer)];
    bound.tokens = buffers[static_cast<size_t>(plan.tokens_buffer)];
    bound.logits = buffers[static_cast<size_t>(plan.logits_buffer)];
    bound.plan = std::make_unique<BoundPlan>(device_, plan, model_.kernels(), buffers);
    return bound;
}

bool Stepper::take_slot(SequenceState& sequence, int64_t tokens, int64_t most) {
    if (sequence.slot >= 0) return memory_.reserve(sequence.slot, tokens);
    const int slot = memory_.take();
    if (slot < 0) return false;
    prefixes_.take(sequence, slot, most);
    if (!memory_.reserve(slot, tokens)) {
        memory_.give_back(slot);
        sequence.computed = 0;
        return false;
    }
    sequence.slot = slot;
    reached(sequence) = sequence.computed;
    return true;
}

void Stepper::give_back(SequenceState& sequence) {
    if (sequence.slot < 0) return;
    // Its draws in flight are done before another sequence's steps, which are launched later.
    draws_->drop(sequence.slot);
    forget_part(sequence.slot);
    memory_.give_back(sequence.slot);
    sequence.slot = -1;
}

void Stepper::keep_prefix(SequenceState& sequence) {
    for (Part& part : last_.parts) part.used = part.used || part.slot == sequence.slot;
    const bool holds_state =
        reached(sequence) == sequence.computed && draws_->in_flight(sequence.slot) == 0;
    prefixes_.keep(sequence, holds_state);
}

Stepper::Bound& Stepper::bound_of(Path path) {
    if (path == Path::kPrompt) return prefill_;
    if (path == Path::kEachHidden) return hidden_;
    return path == Path::kEachLogits && each_.plan != nullptr ? each_ : decode();
}

bool Stepper::LastStep::has(int slot) const {
    return std::ranges::find(parts, slot, &Part::slot) != parts.end();
}

void Stepper::forget_part(int slot) {
    std::erase_if(last_.parts, [&](const Part& part) { return part.slot == slot; });
}

void Stepper::begin_step(std::span<SequenceState* const> sequences) {
    const auto bound_for = [&](const SequenceState& sequence) {
        return &bound_of(sequence.stretch_at(sequence.computed).path);
    };
    Bound* const bound = bound_for(*sequences.front());
    const Plan& plan = bound->plan->plan();
    const int64_t most = plan.options.rows, alignment = bound->plan->row_alignment();
    last_ = {.bound = bound, .parts = {}};
    step_rows_.clear();
    step_tokens_.clear();
    for (SequenceState* sequence : sequences) {
        if (bound_for(*sequence) != bound) continue;
        const auto used = static_cast<int64_t>(step_rows_.size());
        const int64_t begin = (used + alignment - 1) / alignment * alignment, room = most - begin;
        const int64_t left = sequence->stretch_at(sequence->computed).end - sequence->computed;
        // Later steps of a stretch begin where its chunks do; full steps are a number of chunks.
        const int64_t whole = used == 0 ? room : room / alignment * alignment;
        const int64_t rows = left <= room ? left : whole;
        if (rows <= 0) break;
        step_rows_.resize(static_cast<size_t>(begin), used > 0 ? step_rows_.back() : StepRow{});
        step_tokens_.resize(static_cast<size_t>(begin), used > 0 ? step_tokens_.back() : 0);
        for (int64_t at = sequence->computed; at < sequence->computed + rows; ++at) {
            step_rows_.push_back({static_cast<int32_t>(at), sequence->slot});
            step_tokens_.push_back(sequence->tokens[static_cast<size_t>(at)]);
        }
        last_.parts.push_back({sequence, sequence->slot, begin, begin + rows, sequence->computed});
    }
    last_.wanted = rows_of_step() - 1;
    const auto state = step_state(step_rows_, memory_.strides());
    device_.upload(*bound->step, 0, std::as_bytes(std::span<const int32_t>(state)));
    if (bound == &decode()) draws_->forget_rows();
    device_.upload(*bound->tokens, 0, std::as_bytes(std::span<const int32_t>(step_tokens_)));
}

void Stepper::advance(SequenceState& sequence, int64_t computed) {
    const int64_t before = sequence.computed;
    sequence.computed = reached(sequence) = computed;
    StateSnapshots& kept = snapshots(sequence);
    if (kept.due(before, computed)) kept.keep(computed);
}

void Stepper::compute(std::span<SequenceState* const> sequences) {
    for (SequenceState* sequence : sequences) settle(*sequence);
    begin_step(sequences);
    for (const Part& part : last_.parts) {
        const SequenceState& sequence = *part.sequence;
        const int64_t at = sequence.computed;
        // The end of what was there before a prompt is a likely place to come back to.
        if (sequence.stretch_at(at).path == Path::kPrompt &&
            (at == 0 || sequence.stretch_at(at - 1).end == at))
            snapshots(sequence).keep(at);
    }
    last_.bound->plan->run_rows(rows_of_step());
    for (const Part& part : last_.parts) {
        SequenceState& sequence = *part.sequence;
        const SequenceState::Stretch stretch = sequence.stretch_at(sequence.computed);
        const int64_t rows = part.end - part.begin;
        if (stretch.path != Path::kAnswer) prompt_rows_ += rows;
        advance(sequence, sequence.computed + rows);
        if (stretch.path == Path::kPrompt && sequence.computed == stretch.end)
            snapshots(sequence).keep(sequence.computed);
    }
}

Stepper::Part& Stepper::make_output(const SequenceState& sequence) {
    Part& part = *std::ranges::find(last_.parts, sequence.slot, &Part::slot);
    const int64_t row = part.end - 1;
    part.used = true;
    if (last_.output == row) return part;
    if (last_.wanted != row) {
        const auto wanted = static_cast<int32_t>(row);
        device_.upload(*last_.bound->step, step_wanted_offset(),
                       std::as_bytes(std::span(&wanted, 1)));
        last_.wanted = row;
    }
    last_.bound->plan->run_output();
    last_.output = row;
    return part;
}

void Stepper::read_output(SequenceState& sequence, std::vector<float>& to) {
    const Part& part = make_output(sequence);
    const bool of_each = last_.bound->plan->plan().options.each_row();
    const int64_t rows = of_each ? part.end - part.begin : 1;
    const int64_t width = last_.bound == &hidden_ ? model_.graph().hidden : vocabulary();
    const auto count = static_cast<size_t>(rows * width);
    to.resize(to.size() + count);
    const std::span<float> read = std::span(to).last(count);
    device_.download(std::as_writable_bytes(read), *last_.bound->logits,
                     of_each ? static_cast<size_t>(part.begin * width) * sizeof(float) : 0);
    if (!all_finite(read)) throw_number_error(sequence);
}

void Stepper::prepare(SequenceState& sequence, bool draws) {
    settle(sequence);
    if (!draws || sequence.computed < sequence.size() || last_.has(sequence.slot)) return;
    const SequenceState::Stretch& stretch = sequence.stretch_at(sequence.computed - 1);
    const int64_t at = &stretch - sequence.stretches.data();
    const int64_t begin = at == 0 ? 0 : sequence.stretches[static_cast<size_t>(at - 1)].end;
    sequence.computed = begin;
    const int64_t rows = rows_of(*bound_of(stretch.path).plan);
    sequence.computed = begin + (stretch.end - 1 - begin) / rows * rows;
    settle(sequence);
}

int32_t Stepper::draw_first(SequenceState& sequence, const Sampling& sampling,
                            const DrawLimit& limit) {
    const Part& part = make_output(sequence);
    if (last_.bound == &each_) {
        // This plan has a buffer of its own for the logits of all rows.
        const auto width = static_cast<size_t>(vocabulary()) * sizeof(float);
        std::vector<std::byte> row(width);
        device_.download(row, *each_.logits, static_cast<size_t>(part.end - 1) * width);
        device_.upload(*decode().logits, 0, row);
    }
    const int32_t token = draws_->first(sequence, sampling, limit);
    take_draw(sequence, token);
    forget_part(sequence.slot);  // the penalty for repetitions works in place
    last_.output = -1;
    check_draw(sequence);
    return token;
}

void Stepper::draw(std::span<SequenceState* const> sequences) {
    if (take_landed(sequences)) return;
    if (!draws_->has_rows(sequences)) {
        draws_->forget_rows();  // nothing is launched for others until these had their turn
        if (!draws_->in_flight()) draws_->set_rows(sequences);
    }
    if (draws_->has_rows(sequences)) {
        int64_t most = std::numeric_limits<int64_t>::max();
        // A state that is to be kept is that of its position, not a later one.
        for (const SequenceState* sequence : sequences)
            most = std::min({most, context() - sequence->computed,
                             snapshots(*sequence).until_due(sequence->computed)});
        draws_->launch_ahead(most);
        last_ = {};  // scratch and logits are used anew
    }
    draws_->land();
    take_landed(sequences);
}

bool Stepper::take_landed(std::span<SequenceState* const> sequences) {
    bool some = false;
    for (SequenceState* sequence : sequences)
        for (;;) {
            const int32_t token = draws_->take(*sequence);
            if (token == Draws::kNoneLeft) break;
            some = true;
            advance(*sequence, sequence->computed + 1);
            if (!take_draw(*sequence, token)) break;
        }
    return some;
}

bool Stepper::take_draw(SequenceState& sequence, int32_t token) {
    sequence.bad_logits = token == kNothingDrawn;
    if (!sequence.bad_logits) sequence.add_drawn(token);
    return !sequence.bad_logits;
}

void Stepper::check_draw(SequenceState& sequence) {
    if (std::exchange(sequence.bad_logits, false)) throw_number_error(sequence);
}

// Keys and values behind the end do no harm, where they are the slot's alone, but recurrent state
// that has moved beyond it is restored from a copy, and what follows the copy is due again.
void Stepper::settle(SequenceState& sequence) {
    if (reached(sequence) + draws_->in_flight(sequence.slot) == sequence.computed) return;
    draws_->drop(sequence.slot);
    forget_part(sequence.slot);
    StateSnapshots& kept = snapshots(sequence);
    if (kept.has_state()) sequence.computed = kept.restore(sequence.computed);
    reached(sequence) = sequence.computed;
    memory_.write_from(sequence.slot, sequence.computed);
}

void Stepper::trace(SequenceState& sequence, const AfterKernel& after) {
    settle(sequence);
    trace_step(sequence, [&](const BoundPlan& plan, size_t step, int rows) {
        after(plan, step, rows);
        return true;
    });
}

void Stepper::trace_step(SequenceState& sequence, const GoesOn& goes_on) {
    SequenceState* const one = &sequence;
    begin_step({&one, 1});
    const int rows = rows_of_step();
    BoundPlan& plan = *last_.bound->plan;
    for (size_t i = 0; i < plan.plan().steps.size(); ++i) {
        plan.launch(rows, i, i + 1);
        if (!goes_on(plan, i, rows)) break;
    }
    last_.output = rows - 1;
    sequence.computed = reached(sequence) = sequence.computed + rows;
}

void Stepper::throw_number_error(SequenceState& sequence) {
    draws_->drop(sequence.slot);
    for (const Part& part : last_.parts)
        if (part.sequence != &sequence && !part.used) part.sequence->computed = part.from;
    // By the steps that found it, since another kernel may be right.
    const int64_t tokens = sequence.computed;
    sequence.computed = reached(sequence) = 0;
    snapshots(sequence).clear();
    memory_.write_from(sequence.slot, 0);
    std::optional<BadNumber> first;
    while (!first && sequence.computed < tokens)
        trace_step(sequence, [&](const BoundPlan& plan, size_t step, int rows) {
            first = find_bad_number(device_, plan, step, rows, sequence.computed);
            return !first;
        });
    sequence.cut(0);
    throw NumberError(number_error_text(model_.file(), model_.options(), first, tokens));
}

}  // namespace hetune
