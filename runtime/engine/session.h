// One loaded model on one device: plans made, kernels compiled or taken from the cache, weights in
// tiles, KV cache allocated, graphs captured.
//
// One thread at a time. After a DeviceError a session is not used again.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "planner/plan/plan.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/device/device.h"
#include "runtime/engine/state_snapshots.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/memory.h"
#include "runtime/load/sampling.h"
#include "runtime/load/session_plans.h"
#include "runtime/load/weights.h"
#include "runtime/oracle/engine.h"
#include "runtime/trial/certify.h"

namespace hetune {

// What a load says while it lasts: "compile", "repack", "certify", with a count of how many are
// done.
using LoadProgress = std::function<void(const std::string& stage, size_t done, size_t total)>;

struct LoadTimes {
    double plan_ms = 0;     // graph and plans
    double compile_ms = 0;  // compiling, or looking up in the cache
    double repack_ms = 0;   // repacking, or mapping
    double load_ms = 0;     // modules, allocation, upload
    double certify_ms = 0;  // trials, or looking up their results
};

// How kernels are checked before their first use, and who hears which of them are not used.
struct SessionChecks {
    CertifyMode certify = CertifyMode::kOnce;
    bool retry = false;  // try again what was refused earlier
    std::function<void(const std::string& line)> warn = {};
};

class Session : public Engine {
  public:
    // All but the options outlive the session; `tiles` may be nullptr (Weights). A kernel that does
    // not compile, fails a gate or its trial is not used: the planner's next variant is. Throws
    // ModelError, CompileError, DeviceError, and MemoryError before anything is allocated.
    Session(const ModelFile& file, Device& device, KernelLibrary& library, TileStore* tiles,
            SessionOptions options, const LoadProgress& progress = {},
            const SessionChecks& checks = {});
    ~Session() override;

    // Without SessionOptions::all_logits the logits of every row come from the decode plan, one
    // token after another.
    std::vector<float> forward(std::span<const int32_t> tokens, bool every_row) override;

    // Like forward with every_row, but launches one kernel after another and calls `after` behind
    // each, while its results are there to read. Does not look at the logits.
    using AfterStep = std::function<void(const BoundPlan& plan, size_t step, int rows)>;
    void trace(std::span<const int32_t> tokens, const AfterStep& after);

    // Draws on the device, from logits to token.
    //
    // A caller that says in `limit` how many tokens it will draw, those of `prompt` included, lets
    // the device run ahead of the host by a few steps or a burst. It stops by itself behind an end
    // token and the last draw; a caller that stops earlier makes the next call restore recurrent
    // state from the nearest snapshot.
    int32_t prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                   const DrawLimit& limit = {.draws = 0}) override;
    int32_t next() override;
    // The parts of next(), for whoever has something to do between them: launches what is missing
    // behind the draws in flight, sleeps until the oldest is done, takes it.
    void launch_ahead();
    bool draw_is_done() const { return landed_ > 0; }  // wait_for_draw() will not wait
    void wait_for_draw();
    int32_t take_draw();
    // Tokens of context that are left.
    int64_t room() const { return options_.context - position_; }

    // A place in the context to come back to: recurrent state is copied to the host, the KV cache
    // stays where it is. Valid until the context is cut shorter than this.
    struct Place {
        int64_t position = 0;
        std::vector<int32_t> tokens;
        std::vector<std::byte> state;
    };
    Place place();
    void go_back(const Place& place);

    std::span<const int32_t> tokens() const override { return tokens_; }
    void reset() override;
    // A recurrent state is restored from the nearest snapshot, kept at the ends of prompts and
    // answers and now and then between, and runs from there.
    void truncate(int64_t count) override;
    int64_t position() const override { return position_; }
    int64_t vocabulary() const override { return graph_.vocabulary; }
    int64_t context() const override { return options_.context; }

    const LayerGraph& graph() const { return graph_; }
    const LoadTimes& times() const { return times_; }
    const MemoryNeeds& memory() const { return memory_; }
    bool repacked() const { return weights_.repacked(); }
    const SessionOptions& options() const { return options_; }
    // Of the kernels in use, and of those that failed; empty where nothing was certified.
    const std::vector<CertifiedKernel>& certificates() const { return certificates_; }
    Device& device() const { return device_; }
    Plan plan_for(int rows, bool all_logits) const;
    // The plans for one decoded token and for a step of a prompt, bound.
    BoundPlan& decode_plan() { return *decode_.plan; }
    BoundPlan& prefill_plan() { return *prefill_.plan; }

  private:
    struct Bound {
        std::unique_ptr<BoundPlan> plan;
        std::vector<std::unique_ptr<Buffer>> own;  // step, tokens, logits
        Buffer* step = nullptr;
        Buffer* tokens = nullptr;
        Buffer* logits = nullptr;
    };
    // What the steps of a load have in common.
    struct Loading {
        KernelLibrary& library;
        const LoadProgress& progress;
        const SessionChecks& checks;
        SessionPlans plans;
    };
    // Each makes or checks all kernels of the plans; false where some were refused, so that the
    // plans are made anew.
    bool make_kernels(Loading& loading);
    bool certify_kernels(Loading& loading);
    void refuse(const KernelSpec& spec, const std::string& reason, const SessionChecks& checks);
    void allocate_shared(const SessionPlans& plans);
    Bound bind(Plan plan);
    Buffer* shared(const PlanBuffer& buffer);
    void put_inputs(Bound& bound, std::span<const int32_t> tokens);
    // One step of at most the plan's rows; its logits are then in the plan's buffer.
    void step(Bound& bound, std::span<const int32_t> tokens);
    // The state that `position` was reached with may be kept.
    void advance(int64_t tokens);
    // Runs tokens_ from position_ to `end`, in steps. Asks `cancelled` between two steps and throws
    // Cancelled when the answer is true.
    void run_to(int64_t end, const std::function<bool()>& cancelled = {});
    // Appends tokens to tokens_ and runs `work`. When that throws, tokens_ ends where the work did.
    void append(std::span<const int32_t> tokens, const std::function<void()>& work);
    // Runs tokens_ from position_ to `end` as trace() does, until `goes_on` answers false.
    using GoesOn = std::function<bool(const BoundPlan& plan, size_t step, int rows)>;
    void trace_to(int64_t end, Bound& bound, const GoesOn& goes_on);
    int32_t drawn_token();
    // Finds out where the context's logits ceased to be numbers, empties the context, and throws
    // NumberError.
    [[noreturn]] void throw_number_error();
    void record_steps(int64_t steps);
    void capture_burst();
    // How many draws may be launched behind those in flight, and how many of them as one graph.
    int64_t launchable() const;
    int64_t longest_burst(int64_t most);
    // A graph of so many tokens and their draws, behind what is in flight: one, or a burst.
    void launch_steps(int64_t steps);
    // Draws in flight are not waited for any more.
    void forget_flights();
    void settle();
    // Makes `end` (at most position_) the context's end, whatever is in flight.
    void rewind(int64_t end);

    const ModelFile& file_;
    Device& device_;
    LayerGraph graph_;
    SessionOptions options_;
    int64_t memory_limit_;  // as it was before anything was allocated
    Weights weights_;
    Modules modules_;
    std::map<std::string, CacheKey> objects_;  // hash of each module's object, by spec
    std::unique_ptr<Buffer> state_;            // all recurrent state
    std::map<std::string, std::unique_ptr<Buffer>> shared_;  // KV, scratch, and parts of state_
    Bound decode_, prefill_, all_;
    std::unique_ptr<StateSnapshots> snapshots_;
    std::unique_ptr<BoundPlan> sampler_;
    // Launched together, with a mark behind the last.
    struct Flight {
        std::unique_ptr<Mark> mark;
        int64_t draws = 0;
    };
    std::unique_ptr<Graph> token_graph_, burst_graph_;  // decode and draw, once and more often
    Buffer* loop_ = nullptr;                            // of burst_graph_, where that is a loop
    int64_t rounds_ = 0;                                // that it takes
    HostMemory ring_;                                   // of drawn tokens
    std::vector<Flight> flights_;                       // used in turn
    size_t first_flight_ = 0, next_flight_ = 0;
    int64_t landed_ = 0;        // draws in flight that are known to be done
    double token_seconds_ = 1;  // that the last draws took, each
    std::chrono::steady_clock::time_point last_landing_;
    std::vector<int32_t> tokens_;  // of the context, and the one drawn last
    std::vector<int32_t> ends_;    // of the generation
    int64_t position_ = 0;         // tokens in the KV cache, by the draws that were taken
    int32_t drawn_ = 0;            // draws taken, by the device's count
    int64_t in_flight_ = 0;        // draws launched and not taken
    int64_t ahead_ = 0;            // draws that may still be launched before next() asks
    LoadTimes times_;
    MemoryNeeds memory_;
    std::vector<CertifiedKernel> certificates_;
};

}  // namespace hetune
