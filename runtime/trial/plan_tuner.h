// The choice between fused and unfused variants, by the time of a whole step: a fusion that makes
// one kernel slower may still make the token faster, and the other way about.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "cache/tuning_record.h"
#include "runtime/trial/plan_runner.h"
#include "runtime/trial/timing.h"

namespace hetune {

struct TunedPlan {
    int rows = 1, sequences = 1;
    std::string signature;                // plan_signature of the default
    double default_us = 0, tuned_us = 0;  // of a whole step, end to end
    double noise_us = 0;
    bool kernels_help = true;  // the tuned kernels together are not slower than the defaults
    std::vector<std::string> without;     // what the tuned plan leaves out
    std::vector<TuningTrial> variants;    // all that were timed, as points {"swiglu": "off"}
    std::string checked_with;             // whose logits were compared: "oracle" or "unfused plan"
    double default_kl = 0, tuned_kl = 0;  // distance from those
};

// Logits of a plan that is right are not further from the oracle's than this.
constexpr double kMostKl = 0.05;

// The default plan's logits are too far from what they are compared with: it is wrong, or the model
// is chaotic (random weights, many experts).
class WrongPlan : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

class PlanTuner {
  public:
    // `options` without tunings; the memory holds as many sequences. All but the options outlive
    // this.
    PlanTuner(Device& device, KernelLibrary& library, BenchMemory& memory, const LayerGraph& graph,
              const ModelFile& file, PlanOptions options);

    // `tunings`: what the sweep over kernels found. A step of several sequences has the variants
    // that were chosen for one row, and is only compared with the default. Empty when it was over
    // before the end. Throws WrongPlan when the default plan's logits are, and
    // CompileError{kGivenUp} when it was over while kernels were compiled.
    std::optional<TunedPlan> run(const Tunings& tunings, const std::function<bool()>& over);

  private:
    struct Variant {
        std::set<std::string> without;
        std::unique_ptr<PlanRunner> runner;
        double kl = 0;
    };
    void add_variants(const Plan& base, const Tunings& tunings, const std::function<bool()>& over);
    bool add(const Tunings& tunings, std::set<std::string> without);
    double distance(PlanRunner& runner);
    void read_reference();
    double time_us(size_t variant);

    Device& device_;
    KernelLibrary& library_;
    BenchMemory& memory_;
    const LayerGraph& graph_;
    const ModelFile& file_;
    PlanOptions options_;
    LoadedKernels kernels_;
    std::vector<Variant> variants_;  // the untuned default, the tuned one, its variants
    std::vector<int32_t> tokens_;
    std::vector<float> reference_;
    std::string checked_with_;
};

// The rows that a shape of a plan with so many has (KernelShape::rows).
int shape_rows(int rows);

}  // namespace hetune
