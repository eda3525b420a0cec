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
    if (last_slot_ == sequence.slot) last_ = nullptr;
    memory_.give_back(sequence.slot);
    sequence.slot = -1;
}

void Stepper::keep_prefix(SequenceState& sequence) {
    const bool holds_state =
        reached(sequence) == sequence.computed && draws_->in_flight(sequence.slot) == 0;
    prefixes_.keep(sequence, holds_state);
}

Stepper::Bound& Stepper::bound_of(Path path) {
    if (path == Path::kPrompt) return prefill_;
    if (path == Path::kEachHidden) return hidden_;
    return path == Path::kEachLogits && each_.plan != nullptr ? each_ : decode();
}

Stepper::Due Stepper::due(const SequenceState& sequence) {
    const SequenceState::Stretch& stretch = sequence.stretch_at(sequence.computed);
    Bound& bound = bound_of(stretch.path);
    const int64_t left = stretch.end - sequence.computed;
    return {bound, static_cast<int>(std::min<int64_t>(left, rows_of(*bound.plan)))};
}

void Stepper::put_inputs(const SequenceState& sequence, const Due& due) {
    std::vector<StepRow> rows;
    for (int row = 0; row < due.rows; ++row)
        rows.push_back({static_cast<int32_t>(sequence.computed + row), sequence.slot});
    device_.upload(*due.bound.step, 0,
                   std::as_bytes(std::span<const int32_t>(step_state(rows, memory_.strides()))));
    if (&due.bound == &decode()) draws_->forget_rows();
    device_.upload(*due.bound.tokens, 0,
                   std::as_bytes(std::span(sequence.tokens)
                                     .subspan(static_cast<size_t>(sequence.computed),
                                              static_cast<size_t>(due.rows))));
}

void Stepper::advance(SequenceState& sequence, int64_t computed) {
    const int64_t before = sequence.computed;
    sequence.computed = reached(sequence) = computed;
    StateSnapshots& kept = snapshots(sequence);
    if (kept.due(before, computed)) kept.keep(computed);
}

void Stepper::compute(SequenceState& sequence) {
    settle(sequence);
    const SequenceState::Stretch& stretch = sequence.stretch_at(sequence.computed);
    const bool prompt = stretch.path == Path::kPrompt;
    // The end of what was there before a prompt is a likely place to come back to.
    if (prompt && (sequence.computed == 0 ||
                   sequence.stretch_at(sequence.computed - 1).end == sequence.computed))
        snapshots(sequence).keep(sequence.computed);
    const Due step = due(sequence);
    put_inputs(sequence, step);
    step.bound.plan->run(step.rows);
    last_ = &step.bound;
    last_slot_ = sequence.slot;
    last_rows_ = step.rows;
    if (stretch.path != Path::kAnswer) prompt_rows_ += step.rows;
    advance(sequence, sequence.computed + step.rows);
    if (prompt && sequence.computed == stretch.end) snapshots(sequence).keep(sequence.computed);
}

void Stepper::read_output(SequenceState& sequence, std::vector<float>& to) {
    const int64_t rows = last_ == &each_ || last_ == &hidden_ ? last_rows_ : 1;
    const auto count =
        static_cast<size_t>(rows * (last_ == &hidden_ ? model_.graph().hidden : vocabulary()));
    to.resize(to.size() + count);
    const std::span<float> read = std::span(to).last(count);
    device_.download(std::as_writable_bytes(read), *last_->logits, 0);
    if (!all_finite(read)) throw_number_error(sequence);
}

void Stepper::prepare(SequenceState& sequence, bool draws) {
    settle(sequence);
    const bool there = last_ != nullptr && last_slot_ == sequence.slot;
    if (!draws || sequence.computed < sequence.size() || there) return;
    const SequenceState::Stretch& stretch = sequence.stretch_at(sequence.computed - 1);
    const int64_t at = &stretch - sequence.stretches.data();
    const int64_t begin = at == 0 ? 0 : sequence.stretches[static_cast<size_t>(at - 1)].end;
    sequence.computed = begin;
    const int64_t rows = rows_of(*due(sequence).bound.plan);
    sequence.computed = begin + (stretch.end - 1 - begin) / rows * rows;
    settle(sequence);
}

int32_t Stepper::draw_first(SequenceState& sequence, const Sampling& sampling,
                            const DrawLimit& limit) {
    if (last_ == &each_) {
        // This plan has a buffer of its own for the logits of all rows.
        const auto width = static_cast<size_t>(vocabulary()) * sizeof(float);
        std::vector<std::byte> row(width);
        device_.download(row, *each_.logits, static_cast<size_t>(last_rows_ - 1) * width);
        device_.upload(*decode().logits, 0, row);
    }
    const int32_t token = draws_->first(sequence, sampling, limit);
    take_draw(sequence, token);
    last_ = nullptr;  // the penalty for repetitions works in place
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
        last_ = nullptr;  // of the step of one row
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
    if (last_slot_ == sequence.slot) last_ = nullptr;
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
    const Due step = due(sequence);
    put_inputs(sequence, step);
    BoundPlan& plan = *step.bound.plan;
    for (size_t i = 0; i < plan.plan().steps.size(); ++i) {
        plan.launch(step.rows, i, i + 1);
        if (!goes_on(plan, i, step.rows)) break;
    }
    last_ = &step.bound;
    last_slot_ = sequence.slot;
    last_rows_ = step.rows;
    sequence.computed = reached(sequence) = sequence.computed + step.rows;
}

void Stepper::throw_number_error(SequenceState& sequence) {
    draws_->drop(sequence.slot);
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
