#include "runtime/engine/draws.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "runtime/compile/stopwatch.h"

namespace hetune {
namespace {

// The device works on one while the host sees to the one before; more cover a host that is slow to
// wake. Where tokens come faster than an eye sees, several are launched at once, for
// LoadOptions::burst_seconds. With a burst behind all others, less than the ring of tokens
// holds.
constexpr size_t kLaunchesInFlight = 4;
constexpr int64_t kBurst = 32;
// A launch costs the host by the graph's nodes, and a loop the device by its rounds: two tokens a
// round. Without loops a burst is one long graph.
constexpr int64_t kRound = 2, kLine = 8;

}  // namespace

Draws::Draws(const LoadedModel& model, const ContextMemory& memory,
             std::span<const Decoder> decoders)
    : device_(model.device()),
      burst_seconds_(model.options().burst_seconds),
      strides_(memory.strides()),
      slots_(static_cast<size_t>(memory.slots())),
      landed_(slots_.size()) {
    const auto ring_bytes = static_cast<size_t>(token_ring_size()) * sizeof(int32_t);
    ring_ = device_.allocate_host(slots_.size() * ring_bytes);
    states_ = device_.allocate(slots_.size() * sampler_state({}, {}).size());
    for (const Decoder& decoder : decoders)
        decoders_.push_back({&decoder.plan,
                             bind_sampler(model.kernels(), decoder.sampler, decoder.plan),
                             decoder.plan.plan().options.rows, nullptr});
    // A first draw leaves alone what the steps in flight work on.
    const Plan& one = decoders.front().sampler;
    std::vector<Buffer*> buffers;
    for (size_t i = 0; i < one.buffers.size(); ++i)
        buffers.push_back(&decoders_.front().sampler->buffer(static_cast<int>(i)));
    first_step_ = device_.allocate(
        static_cast<size_t>(one.buffers[static_cast<size_t>(one.step_buffer)].bytes));
    first_token_ = device_.allocate(sizeof(int32_t));
    buffers[static_cast<size_t>(one.step_buffer)] = first_step_.get();
    buffers[static_cast<size_t>(one.tokens_buffer)] = first_token_.get();
    first_sampler_ = std::make_unique<BoundPlan>(device_, one, model.kernels(), buffers);
    for (size_t i = 0; i <= kLaunchesInFlight; ++i) {
        flights_.push_back({device_.make_mark(), 0, {}});
        flights_.back().slots.reserve(slots_.size());
    }
    rows_.reserve(slots_.size());
    step_rows_.reserve(slots_.size());
    tokens_.reserve(slots_.size());
    first_mark_ = device_.make_mark();
}

std::unique_ptr<BoundPlan> Draws::bind_sampler(const LoadedKernels& kernels, const Plan& sampler,
                                               BoundPlan& decode) {
    std::vector<Buffer*> buffers;
    for (const PlanBuffer& buffer : sampler.buffers) {
        if (buffer.name == "ring") {
            buffers.push_back(ring_.buffer.get());
        } else if (buffer.name == "sampler") {
            buffers.push_back(states_.get());
        } else if (buffer.name == "loop") {
            loop_ = device_.allocate(static_cast<size_t>(buffer.bytes));
            buffers.push_back(loop_.get());
        } else {
            const Plan& plan = decode.plan();
            const int of_decode = buffer.role == BufferRole::kLogits ? plan.logits_buffer
                                  : buffer.role == BufferRole::kStep ? plan.step_buffer
                                                                     : plan.tokens_buffer;
            buffers.push_back(&decode.buffer(of_decode));
        }
    }
    return std::make_unique<BoundPlan>(device_, sampler, kernels, buffers);
}

int32_t Draws::first(const SequenceState& sequence, const Sampling& sampling,
                     const DrawLimit& limit) {
    // Without a limit the device draws as it is asked to.
    const bool limited = limit.draws > 0 && limit.ends.size() <= static_cast<size_t>(most_ends());
    const DrawLimit on_device = limited ? limit : DrawLimit{.vocabulary = limit.vocabulary};
    const std::vector<std::byte> state = sampler_state(sampling, sequence.tokens, on_device);
    device_.upload(*states_, static_cast<size_t>(sequence.slot) * state.size(), state);
    const StepRow row{static_cast<int32_t>(sequence.size()) - 1, sequence.slot};
    device_.upload(*first_step_, 0,
                   std::as_bytes(std::span<const int32_t>(step_state({&row, 1}, strides_))));
    Slot& slot = slot_of(sequence);
    drop(sequence.slot);
    std::memcpy(&slot.drawn, state.data() + sampler_count_offset(), sizeof slot.drawn);
    slot.ends.assign(on_device.ends.begin(), on_device.ends.end());
    slot.left = on_device.draws;
    slot.ahead = limited ? limit.draws - 1 : 0;
    slot.live = true;
    first_sampler_->launch(1, 0, 1);
    device_.record(*first_mark_);
    wait(*first_mark_);
    last_landing_ = std::chrono::steady_clock::now();
    // The row's memory, where there was one, holds the token before.
    if (std::ranges::find(rows_, sequence.slot) != rows_.end()) stale_ = true;
    return read_ring(sequence.slot);
}

bool Draws::has_rows(std::span<SequenceState* const> sequences) const {
    return !stale_ && std::ranges::equal(sequences, rows_, {}, &SequenceState::slot);
}

void Draws::set_rows(std::span<SequenceState* const> sequences) {
    current_ = &*std::ranges::find_if(
        decoders_, [&](const Bound& bound) { return bound.rows >= std::ssize(sequences); });
    rows_.clear();
    step_rows_.clear();
    tokens_.clear();
    for (const SequenceState* sequence : sequences) {
        rows_.push_back(sequence->slot);
        step_rows_.push_back({static_cast<int32_t>(sequence->computed), sequence->slot});
        tokens_.push_back(sequence->tokens.back());
    }
    BoundPlan& decode = *current_->decode;
    device_.upload(decode.buffer(decode.plan().step_buffer), 0,
                   std::as_bytes(std::span<const int32_t>(step_state(step_rows_, strides_))));
    device_.upload(decode.buffer(decode.plan().tokens_buffer), 0,
                   std::as_bytes(std::span(tokens_)));
    stale_ = false;
}

void Draws::record_steps(Bound& bound, int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) {
        const int rows = static_cast<int>(bound.rows);
        bound.decode->launch(rows, 0, bound.decode->plan().steps.size());
        bound.sampler->launch(rows, 0, 1);
    }
}

void Draws::capture_burst() {
    Bound& one = decoders_.front();
    if (loop_ != nullptr) {
        rounds_ = kBurst / kRound;
        device_.upload(*loop_, 0, loop_state(static_cast<int32_t>(rounds_)));
        burst_ = device_.capture_loop(*loop_, [&] {
            record_steps(one, kRound);
            one.sampler->launch(1, 1, 2);
        });
        loops_ = burst_ != nullptr;
        if (loops_) return;
    }
    burst_ = device_.capture([&] { record_steps(one, kLine); });
}

int64_t Draws::longest_burst(int64_t most) {
    if (burst_ == nullptr) {
        if (most < (loop_ != nullptr ? kRound : kLine)) return 0;
        capture_burst();
    }
    if (loops_) return std::min(most, kBurst) / kRound * kRound;
    return most >= kLine ? kLine : 0;
}

void Draws::launch_steps(int64_t steps) {
    if (steps > 1 && loops_ && steps / kRound != rounds_) {
        rounds_ = steps / kRound;
        device_.fill(*loop_, loop_rounds_offset(), 1, static_cast<uint8_t>(rounds_));
    }
    auto& graph = steps == 1 ? current_->token : burst_;
    if (graph == nullptr) graph = device_.capture([&] { record_steps(*current_, 1); });
    Flight& flight = flights_[next_flight_++ % flights_.size()];
    flight.draws = steps;
    flight.slots.assign(rows_.begin(), rows_.end());
    device_.replay(*graph);
    device_.record(*flight.mark);
    for (const int slot : rows_) {
        int64_t& ahead = slots_[static_cast<size_t>(slot)].ahead;
        ahead = std::max<int64_t>(ahead - steps, 0);
    }
}

int64_t Draws::in_flight(int slot) const {
    int64_t draws = landed_[static_cast<size_t>(slot)];
    for (size_t i = first_flight_; i != next_flight_; ++i) {
        const Flight& flight = flights_[i % flights_.size()];
        if (std::ranges::find(flight.slots, slot) != flight.slots.end()) draws += flight.draws;
    }
    const Slot& own = slots_[static_cast<size_t>(slot)];
    return own.live ? std::min(draws, own.left) : 0;
}

void Draws::launch_ahead(int64_t most) {
    if (!in_flight()) launch_steps(1);
    while (next_flight_ - first_flight_ < kLaunchesInFlight) {
        int64_t flying = 0, ahead = std::numeric_limits<int64_t>::max();
        for (size_t i = first_flight_; i != next_flight_; ++i)
            flying += flights_[i % flights_.size()].draws;
        for (const int slot : rows_)
            ahead = std::min(ahead, slots_[static_cast<size_t>(slot)].ahead);
        const int64_t more = std::min({ahead, most - flying, token_ring_size() - flying, kBurst});
        if (more < 1) return;
        const double together = burst_seconds_ / std::max(token_seconds_, 1e-9);
        const int64_t burst = together < 2 || current_->rows > 1
                                  ? 0
                                  : static_cast<int64_t>(std::min<double>(together, kBurst));
        launch_steps(std::max<int64_t>(longest_burst(std::min(more, burst)), 1));
    }
}

void Draws::wait(Mark& mark) {
    const double began = thread_seconds();
    device_.wait(mark);
    waited_seconds_ += thread_seconds() - began;
}

void Draws::land() {
    const Flight& flight = flights_[first_flight_++ % flights_.size()];
    wait(*flight.mark);
    const auto now = std::chrono::steady_clock::now();
    token_seconds_ = std::chrono::duration<double>(now - last_landing_).count() /
                     static_cast<double>(flight.draws);
    last_landing_ = now;
    for (const int slot : flight.slots)
        if (slot >= 0) landed_[static_cast<size_t>(slot)] += flight.draws;
}

int32_t Draws::take(const SequenceState& sequence) {
    int64_t& landed = landed_[static_cast<size_t>(sequence.slot)];
    // Behind an end launches do nothing for a row.
    if (landed == 0 || !slot_of(sequence).live) {
        landed = 0;
        return kNoneLeft;
    }
    --landed;
    return read_ring(sequence.slot);
}

int32_t Draws::read_ring(int slot) {
    Slot& own = slots_[static_cast<size_t>(slot)];
    const auto size = static_cast<size_t>(token_ring_size());
    const size_t at = static_cast<size_t>(slot) * size + static_cast<size_t>(own.drawn++) % size;
    int32_t token = 0;
    std::memcpy(&token, ring_.bytes + at * sizeof token, sizeof token);
    --own.left;
    own.live = own.left > 0 && token != kNothingDrawn &&
               std::ranges::find(own.ends, token) == own.ends.end();
    return token;
}

void Draws::drop(int slot) {
    for (size_t i = first_flight_; i != next_flight_; ++i)
        std::ranges::replace(flights_[i % flights_.size()].slots, slot, -1);
    landed_[static_cast<size_t>(slot)] = 0;
    slots_[static_cast<size_t>(slot)].live = false;
    // Its row goes on by itself until the rows are set anew.
    if (std::ranges::find(rows_, slot) != rows_.end()) stale_ = true;
}

}  // namespace hetune
