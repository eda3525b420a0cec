// Decides which sequences take the next steps, in a thread of its own, the only one that uses the
// engine: in turn a step of all that draw, and one of prompts, so that a prompt of any length holds
// answers up for one step of it at most. A step of prompts has the oldest request's tokens, and as
// many of the next ones' as there is room for. A request starts when its sequence has
// memory for all tokens that it may come to; where all is taken, that of the sequence that has been
// idle longest is taken back, or of one whose caller takes no more tokens, and that sequence is
// computed again when it goes on.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/engine/request.h"
#include "runtime/oracle/engine.h"

namespace hetune {

class Scheduler {
  public:
    // `make` runs in the scheduler's thread; the constructor waits for it and throws what it
    // throws. `most_waiting`: requests that wait or run.
    Scheduler(const std::function<std::unique_ptr<Engine>()>& make, int most_waiting);
    // Requests in progress end as cancelled.
    ~Scheduler();

    // Any thread. Throws Overloaded, DeviceLost, and what check_fits() throws; nothing has happened
    // then.
    void submit(const std::shared_ptr<Request>& request);
    // Any thread: the sequence, which no request has, is given up.
    void release(std::shared_ptr<SequenceState> sequence);
    // Runs `task` in the scheduler's thread, as a request of its own, and waits for it.
    void run(std::function<void(Engine& engine)> task,
             std::shared_ptr<SequenceState> sequence = nullptr);

    // Constant.
    int64_t context() const { return engine_->context(); }
    int64_t vocabulary() const { return engine_->vocabulary(); }

  private:
    using Clock = std::chrono::steady_clock;
    using RequestPtr = std::shared_ptr<Request>;

    void loop();
    // Takes what other threads left; with `waits` once there is something. False at the end.
    bool take_mail(bool waits);
    void give_back(SequenceState& sequence);
    // Requests that wait get slots, and start, as far as there are any. True: one of them reads a
    // prefix from files, and has more to read.
    bool admit();
    bool take_slot(const Request& request);
    // How many tokens of a request's sequence may be taken over.
    static int64_t most_taken(const Request& request);
    bool reads_prefix(Request& request);
    // Writes some prefix to a file. False: there is none, or the device is lost.
    bool write_prefix();
    // Cuts the sequence and appends to it, as the request says.
    void begin(Request& request);
    // Whether a request that computes its prompt will leave tokens for this one to take over.
    bool awaits_prefix(const Request& request);
    // Whether a request can take a step.
    bool is_due(Request& request) const;
    // A step of the requests that draw, and one of those that compute.
    void step_drawing();
    void step_computing();

    // Runs `work` for a request, which ends where that throws.
    void guard(Request& request, const std::function<void()>& work);
    void step(Request& request);
    void compute_together(std::span<const RequestPtr> requests);
    // True: the last step left something that the request reads or draws from.
    static bool reads_output(const Request& request);
    // A request goes on behind a step of its prompt: its output is read, its first token drawn.
    // Gives how the request ends with that, if it does.
    std::optional<Ending> go_on(Request& request);
    // The first draw since the request got its slot, or one whose logits are asked for.
    std::optional<Ending> draw_alone(Request& request);
    void draw_together(std::span<const RequestPtr> requests);
    // How a request ends behind what was drawn, if it does.
    std::optional<Ending> ending_of(const Request& request) const;
    // Ends a request whose sequence is whole; throws DeviceError.
    void finish(Request& request, Ending ending);
    // A prompt that ends before its time stays as far as it was computed.
    void cut_to_computed(Request& request);
    void hand_over(Request& request, std::span<const int32_t> drawn);
    void end(Request& request, Ending ending, std::exception_ptr error = nullptr);
    void lose_device(const std::string& why);

    const size_t most_waiting_;
    std::unique_ptr<Engine> engine_;
    std::vector<float> distribution_;  // of one draw

    // Members that the thread alone uses.
    std::vector<RequestPtr> waiting_, active_;  // in order of age
    std::vector<RequestPtr> drawing_;           // scratch of step_drawing()
    std::vector<RequestPtr> computing_;         // scratch of step_computing()
    std::vector<SequenceState*> sequences_;     // scratch of both: those of one step
    size_t turn_ = 0;  // of those that draw, where they are more than fit into a step
    std::vector<std::shared_ptr<SequenceState>> with_slots_;  // the one that ran last at the end

    std::mutex mutex_;
    std::condition_variable wake_;
    bool woken_ = false, ends_ = false;
    size_t in_progress_ = 0;
    std::vector<RequestPtr> submitted_;
    std::vector<std::shared_ptr<SequenceState>> released_;
    std::string lost_;  // what the device failed with

    std::thread thread_;  // last: uses the others
};

}  // namespace hetune
