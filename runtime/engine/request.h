// One call's question to the engine about one sequence, and its answer: made by the caller,
// worked on by the scheduler's thread. From Scheduler::submit() until the request is done the
// sequence belongs to the scheduler.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "runtime/oracle/engine.h"

namespace hetune {

// Why drawing ended.
enum class Ending {
    kEnd,        // behind one of Request::ends
    kDraws,      // Request::draws
    kContext,    // the context is full
    kCaller,     // Request::stop()
    kCancelled,  // Request::cancel(), by then or in the prompt
    kDeadline,
};

class Request {
  public:
    // The question; constant from submit() on.
    std::shared_ptr<SequenceState> sequence;  // may be empty for a task
    int64_t keep = -1;  // first of all the sequence is cut to so many tokens; -1: it is not
    std::vector<int32_t> tokens;  // to be appended
    SequenceState::Path path = SequenceState::Path::kPrompt;
    int64_t parting = 0;  // tokens behind which other texts are likely to part from this one
    // The output wanted of the appended tokens: Engine::read_output().
    enum class Output { kNone, kLast, kEach } wanted = Output::kNone;
    int64_t draws = 0;  // tokens to draw at most
    Sampling sampling;
    std::vector<int32_t> ends;         // tokens that end the drawing; drawn and appended themselves
    int32_t vocabulary = 0;            // DrawLimit::vocabulary
    bool wants_distributions = false;  // the logits behind which each token was drawn
    std::optional<std::chrono::steady_clock::time_point> deadline;
    // In the place of all this: work for the scheduler's thread, while no step of another request
    // is under way. The sequence has a slot then.
    std::function<void(Engine& engine)> task;

    // For the caller's thread, behind submit().
    //
    // Waits for tokens or the end, for `at_most`. Appends what was drawn since. Returns whether
    // the request is done, with all its tokens handed over.
    bool receive(std::vector<int32_t>& drawn, std::vector<float>& distributions,
                 std::chrono::milliseconds at_most);
    // Ends the drawing soon: receive() until the request is done.
    void stop();
    // Waits until the request is done, and throws what it failed with.
    void finish();

    // Any thread.
    void cancel();

    // Valid once the request is done.
    Ending ending = Ending::kDraws;
    bool started = false;  // or the sequence is as it was
    std::vector<float> output;
    int64_t cached_tokens =
        -1;  // of the sequence with the appended ones, there before the first step
    // Processor time of the scheduler's thread for the tokens with the first draw, and for the
    // other draws; waits for the device left out.
    double prompt_host_seconds = 0, draw_host_seconds = 0;

  private:
    friend class Scheduler;
    // Draws that the caller has not taken yet; beyond, the scheduler waits for it. Two bursts, so
    // that a caller who takes the one does not stop the other.
    static constexpr size_t kMostUntaken = 64;

    // Whether the request is to end before its time, and how.
    std::optional<Ending> early_ending() const;
    // Whether the caller has taken enough of what was drawn.
    bool has_room();

    // Members that the scheduler's thread alone uses.
    enum class Phase { kWaiting, kComputing, kDrawing } phase_ = Phase::kWaiting;
    bool has_read_ = false;    // there is no more in files for its sequence to take over
    bool draws_anew_ = false;  // the next draw is the first since the sequence got its slot
    // The first position at which another request waits to take over what is before it.
    int64_t awaited_ = kNone;
    static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
    int64_t before_ = 0;           // tokens of the sequence at the start
    int64_t first_drawn_ = 0;      // and with the appended ones
    int64_t handed_ = 0;           // drawn tokens that the caller was given
    int64_t computed_before_ = 0;  // SequenceState::computed before the last step of the prompt

    std::atomic<bool> cancelled_ = false, stopped_ = false;
    std::function<void()> wake_;  // the scheduler

    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<int32_t> drawn_;  // not taken yet
    std::vector<float> distributions_;
    bool done_ = false;
    std::exception_ptr error_;
};

}  // namespace hetune
