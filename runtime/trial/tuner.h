// A sweep over the kernels of a model's plans: what `hetune autotune` does. Each result goes into
// the store as it comes, so that a sweep which was stopped or killed goes on where it was.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cache/tuning_store.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/load/model_plans.h"
#include "runtime/trial/bench_memory.h"
#include "runtime/trial/candidate_compiler.h"
#include "runtime/trial/plan_tuner.h"
#include "runtime/trial/race.h"

namespace hetune {

struct TuneProgress {
    std::string stage;           // "compile", "gemv x1", "whole plan x64"
    size_t done = 0, total = 0;  // shapes
    double seconds_left = 0;     // an estimate; 0: none yet
};

struct TuneOptions {
    std::vector<StepKind> kinds = {kDecodeStep};  // steps that decode before those of prompts
    std::string kernels = "*";                    // names of templates, with * and ?
    double budget_seconds = 0;                    // from `started` on, all work included; 0: none
    std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
    std::string strategy = "successive-halving";
    BenchMemory::Options memory;
    PlanOptions plan;        // fusion, activations, KV type
    bool again = false;      // also shapes that have a result of this compiler
    bool whole_plan = true;  // then the variants of the plans
    NamedValues origin;
    // Asked by any thread, between timings and while kernels are compiled.
    std::function<bool()> stop = {};
    std::function<void(const TuneProgress&)> progress = {};
};

struct TunedKernel {
    TuningRecord record;
    std::string label;  // of the first step that has the shape
    int rows = 1;
    int sequences = 1;  // of the step that it was tuned for
    int launches = 0;   // in its plan
    // "measured", "ranked", "stored" (a result was there), "shared" (by a step before this one) or
    // "stopped".
    std::string source;
};

struct TuneResult {
    std::vector<TunedKernel> kernels;
    std::vector<TunedPlan> plans;
    bool measured = false;
    bool stopped = false;  // by stop() or the budget
    double seconds = 0;
    std::vector<std::string> notes;
};

class Tuner {
  public:
    // `device` nullptr: nothing is timed, candidates are ranked by the cost model. `library`
    // nullptr: and nothing is compiled. `tiles` may be nullptr. All but the options outlive this.
    // While this lives the library gives up what it compiles once the sweep is over.
    Tuner(const Arch& arch, Device* device, KernelLibrary* library, TuningStore& store,
          const ModelFile& file, TileStore* tiles, TuneOptions options);
    ~Tuner();
    Tuner(const Tuner&) = delete;
    Tuner& operator=(const Tuner&) = delete;

    // Throws CompileError and DeviceError where the defaults themselves do not run.
    TuneResult run();

  private:
    bool over() const;
    double seconds() const;  // since the start
    // Runs the first steps of the plan, one after the other; false when the sweep was over before.
    bool run_steps(PlanRunner& runner, size_t count) const;
    // A plan of this kind that has run once; nullptr when the sweep was over before.
    std::unique_ptr<PlanRunner> warm_runner(const StepKind& kind, LoadedKernels& kernels);
    TuningKey key_of(const std::string& kernel, const std::string& shape) const;
    // The results of this arch, and of this sweep.
    Tunings found_so_far() const;
    void tune_kind(const StepKind& kind);
    std::vector<TuningTarget> targets_to_tune(const StepKind& kind);
    void tune_targets(const StepKind& kind, const std::vector<TuningTarget>& targets);
    TunedKernel time_target(const TuningTarget& target, std::vector<CompiledCandidate> compiled,
                            PlanRunner& runner);
    // Loads the kernels of the candidates that compiled, and tries them out. What a trial said of
    // each candidate; empty: its kernels are right. Nothing when the sweep was over before.
    std::optional<std::vector<std::string>> failures_of(
        const TuningTarget& target, const std::vector<CompiledCandidate>& compiled,
        LoadedKernels& kernels);
    TunedKernel rank_target(const TuningTarget& target,
                            const std::vector<CompiledCandidate>& compiled);
    TunedKernel untried(const TuningTarget& target) const;
    // Points that were good with another compiler.
    std::vector<size_t> starting_points(const TuningTarget& target) const;
    void keep(TunedKernel kernel);
    void tune_plan(const StepKind& kind);
    void take_back(const StepKind& kind);
    // Tokens of each sequence of a step.
    int64_t context_of(const StepKind& kind) const;
    void report(const std::string& stage);

    const Arch arch_;
    Device* device_;
    KernelLibrary* library_;
    TuningStore& store_;
    const ModelFile& file_;
    TuneOptions options_;
    LayerGraph graph_;
    std::unique_ptr<BenchMemory> memory_;
    std::string device_name_, compiler_;
    StepKind kind_;                    // at hand
    std::vector<TuningRecord> known_;  // of the arch: stored ones, and those of this sweep
    TuneResult result_;
    double timing_started_ = 0;  // seconds()
    size_t done_ = 0, tried_ = 0, total_ = 0;
};

// "gemv*" and the like: * any text, ? any character.
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace hetune
