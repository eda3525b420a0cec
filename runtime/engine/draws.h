// Tokens drawn on the device, which runs ahead of the host by a few launches or a burst of tokens.
// One thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/engine/loaded_model.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/sampling.h"

namespace hetune {

class Draws {
  public:
    // `decode` and the memory of its step, tokens and logits outlive this, as does the model.
    Draws(const LoadedModel& model, BoundPlan& decode);

    // Draws from the logits that are there, behind `history`, whose tokens are all computed. Waits
    // for it; take() gives it. With DrawLimit::draws the device may then run ahead.
    void first(std::span<const int32_t> history, const Sampling& sampling, const DrawLimit& limit);
    // Launches one more at least, and what may be in flight beyond, `most` altogether.
    void launch_ahead(int64_t most);
    // Sleeps until the oldest launch is done. Gives the number of its draws.
    int64_t land();
    // A draw that has landed: its token, or kNothingDrawn. Behind an end token nothing is in
    // flight.
    int32_t take();
    int64_t in_flight() const { return in_flight_; }
    // Draws in flight are not taken any more.
    void forget();

    double waited_seconds() const { return waited_seconds_; }

  private:
    void wait(Mark& mark);
    void record_steps(int64_t steps);
    void capture_burst();
    // Tokens of the longest burst of at most `most`.
    int64_t longest_burst(int64_t most);
    // A graph of so many tokens and their draws, behind what is in flight: one, or a burst.
    void launch_steps(int64_t steps);

    Device& device_;
    const double burst_seconds_;
    BoundPlan& decode_;
    std::unique_ptr<Buffer> state_;  // the sampler's
    std::unique_ptr<Buffer> loop_;   // where the plan has one
    HostMemory ring_;                // of drawn tokens
    std::unique_ptr<BoundPlan> sampler_;
    // Launched together, with a mark behind the last.
    struct Flight {
        std::unique_ptr<Mark> mark;
        int64_t draws = 0;
    };
    std::vector<Flight> flights_;  // used in turn
    size_t first_flight_ = 0, next_flight_ = 0;
    std::unique_ptr<Graph> token_graph_, burst_graph_;  // decode and draw, once and more often
    bool loops_ = false;                                // burst_graph_ is a loop
    int64_t rounds_ = 0;                                // that it takes
    double token_seconds_ = 1;                          // that the last draws took, each
    std::chrono::steady_clock::time_point last_landing_;
    double waited_seconds_ = 0;
    std::vector<int32_t> ends_;  // of the generation
    int32_t drawn_ = 0;          // draws taken, by the device's count
    int64_t in_flight_ = 0;      // draws launched and not taken
    int64_t ahead_ = 0;          // draws that may still be launched unasked
};

}  // namespace hetune
