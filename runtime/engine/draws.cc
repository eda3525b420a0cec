#include "runtime/engine/draws.h"

#include <algorithm>
#include <cstring>

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

Draws::Draws(const LoadedModel& model, BoundPlan& decode)
    : device_(model.device()), burst_seconds_(model.options().burst_seconds), decode_(decode) {
    const Plan &sampler = model.plans().sampler, &plan = decode.plan();
    ring_ = device_.allocate_host(static_cast<size_t>(token_ring_size()) * sizeof(int32_t));
    std::vector<Buffer*> buffers;
    for (const PlanBuffer& buffer : sampler.buffers) {
        const auto bytes = static_cast<size_t>(buffer.bytes);
        if (buffer.name == "ring") {
            buffers.push_back(ring_.buffer.get());
        } else if (buffer.name == "sampler") {
            state_ = device_.allocate(bytes);
            buffers.push_back(state_.get());
        } else if (buffer.name == "loop") {
            loop_ = device_.allocate(bytes);
            buffers.push_back(loop_.get());
        } else {
            const int of_decode = buffer.role == BufferRole::kLogits ? plan.logits_buffer
                                  : buffer.role == BufferRole::kStep ? plan.step_buffer
                                                                     : plan.tokens_buffer;
            buffers.push_back(&decode.buffer(of_decode));
        }
    }
    sampler_ = std::make_unique<BoundPlan>(device_, sampler, model.kernels(), buffers);
    for (size_t i = 0; i <= kLaunchesInFlight; ++i) flights_.push_back({device_.make_mark(), 0});
}

void Draws::first(std::span<const int32_t> history, const Sampling& sampling,
                  const DrawLimit& limit) {
    // Without a limit the device draws as it is asked to.
    const bool limited = limit.draws > 0 && limit.ends.size() <= static_cast<size_t>(most_ends());
    const DrawLimit on_device = limited ? limit : DrawLimit{.vocabulary = limit.vocabulary};
    const std::vector<std::byte> state = sampler_state(sampling, history, on_device);
    device_.upload(*state_, 0, state);
    // The draw moves the decode step on by one.
    const int32_t step[2] = {static_cast<int32_t>(history.size()) - 1, 1};
    device_.upload(decode_.buffer(decode_.plan().step_buffer), 0, std::as_bytes(std::span(step)));
    std::memcpy(&drawn_, state.data() + sampler_count_offset(), sizeof drawn_);
    ends_.assign(on_device.ends.begin(), on_device.ends.end());
    ahead_ = limited ? limit.draws - 1 : 0;
    sampler_->launch(1, 0, 1);
    Mark& drawn = *flights_[next_flight_ % flights_.size()].mark;
    device_.record(drawn);
    wait(drawn);
    last_landing_ = std::chrono::steady_clock::now();
    in_flight_ = 1;
}

void Draws::record_steps(int64_t steps) {
    for (int64_t i = 0; i < steps; ++i) {
        decode_.launch(1, 0, decode_.plan().steps.size());
        sampler_->launch(1, 0, 1);
    }
}

void Draws::capture_burst() {
    if (loop_ != nullptr) {
        rounds_ = kBurst / kRound;
        device_.upload(*loop_, 0, loop_state(static_cast<int32_t>(rounds_)));
        burst_graph_ = device_.capture_loop(*loop_, [&] {
            record_steps(kRound);
            sampler_->launch(1, 1, 2);
        });
        loops_ = burst_graph_ != nullptr;
        if (loops_) return;
    }
    burst_graph_ = device_.capture([&] { record_steps(kLine); });
}

int64_t Draws::longest_burst(int64_t most) {
    if (burst_graph_ == nullptr) {
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
    auto& graph = steps == 1 ? token_graph_ : burst_graph_;
    if (graph == nullptr) graph = device_.capture([&] { record_steps(1); });
    Flight& flight = flights_[next_flight_++ % flights_.size()];
    flight.draws = steps;
    device_.replay(*graph);
    device_.record(*flight.mark);
    in_flight_ += steps;
    ahead_ = std::max<int64_t>(ahead_ - steps, 0);
}

void Draws::launch_ahead(int64_t most) {
    if (in_flight_ == 0) launch_steps(1);
    while (next_flight_ - first_flight_ < kLaunchesInFlight) {
        const int64_t more =
            std::min({ahead_, most - in_flight_, token_ring_size() - in_flight_, kBurst});
        if (more < 1) return;
        const double together = burst_seconds_ / std::max(token_seconds_, 1e-9);
        const int64_t burst =
            together < 2 ? 0 : static_cast<int64_t>(std::min<double>(together, kBurst));
        launch_steps(std::max<int64_t>(longest_burst(std::min(more, burst)), 1));
    }
}

void Draws::wait(Mark& mark) {
    const double began = thread_seconds();
    device_.wait(mark);
    waited_seconds_ += thread_seconds() - began;
}

int64_t Draws::land() {
    const Flight& flight = flights_[first_flight_++ % flights_.size()];
    wait(*flight.mark);
    const auto now = std::chrono::steady_clock::now();
    token_seconds_ = std::chrono::duration<double>(now - last_landing_).count() /
                     static_cast<double>(flight.draws);
    last_landing_ = now;
    return flight.draws;
}

int32_t Draws::take() {
    --in_flight_;
    int32_t token = 0;
    std::memcpy(&token,
                ring_.bytes + static_cast<size_t>(drawn_++ % token_ring_size()) * sizeof token,
                sizeof token);
    // Behind an end launches do nothing.
    if (std::ranges::find(ends_, token) != ends_.end()) forget();
    return token;
}

void Draws::forget() {
    ahead_ = in_flight_ = 0;
    first_flight_ = next_flight_;
}

}  // namespace hetune
