// One op of a plan by itself: the inputs that it found in a real step, every candidate with
// poisoned outputs of its own, checked against the default's, and timed with caches that do not
// know it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "planner/plan/cost_model.h"
#include "planner/tuning_targets.h"
#include "runtime/trial/plan_runner.h"

namespace hetune {

// What an op's kernels find: by (step of the op, parameter), and whole buffers by name.
struct OpInputs {
    std::map<std::pair<size_t, size_t>, std::vector<std::byte>> regions;
    std::map<std::string, std::vector<std::byte>> buffers;
};

// From a plan of the defaults whose steps before the op have just run. `target` is of that plan.
OpInputs read_inputs(Device& device, const PlanRunner& runner, const TuningTarget& target);

// What an op's kernels wrote, in the order of steps and parameters.
struct OpOutput {
    std::string name;  // "blk.0.attn_q, y"
    std::string type;  // "float", "xblock", "f16", "bf16", "q8 HEADS SIZE" (a KV cache), "int"
    std::vector<std::byte> bytes;
};

// The largest difference relative to the largest value, over all outputs; infinite for a NaN, for
// outputs that are not alike, and for integers that differ. `where` names the worst.
double output_error(const std::vector<OpOutput>& wanted, const std::vector<OpOutput>& got,
                    std::string& where);
// Sums in another order; an 8-bit value may be rounded the other way.
constexpr double kMostFloatError = 1e-3, kMostBlockError = 2e-2;

class OpBench {
  public:
    // `target`'s buffers are prepared in `memory`. All outlive this.
    OpBench(Device& device, const BenchMemory& memory, const TuningTarget& target, OpInputs inputs);

    // Runs a candidate once, in memory that no other has touched.
    std::vector<OpOutput> run(const TuningCandidate& candidate, const LoadedKernels& kernels);
    // Empty when its outputs are those of the default; else what differs.
    std::string problem(const TuningCandidate& candidate, const LoadedKernels& kernels);

    // A batch of launches over rotating weights and KV caches, recorded as a graph.
    class Timed {
      public:
        double time_us(Device& device) const;  // of one launch

      private:
        friend class OpBench;
        std::vector<std::unique_ptr<Buffer>> own_;
        std::vector<std::unique_ptr<BoundPlan>> bound_;
        std::unique_ptr<Graph> graph_;
        int launches_ = 1;
    };
    Timed prepare(const TuningCandidate& candidate, const LoadedKernels& kernels);
    size_t rotation() const { return copies_.size() + 1; }

  private:
    using Buffers = std::vector<Buffer*>;
    // Buffers of a candidate: weights and KV caches are memory_'s, the others are made, poisoned,
    // and go into `own`.
    Buffers buffers_of(const Plan& plan, std::vector<std::unique_ptr<Buffer>>& own);
    void put_inputs(const Plan& plan, const Buffers& buffers, bool shared_kv);
    // Fills the rows that `plan` appends to KV caches with NaN. The inputs hold what the default
    // wrote there, so that a candidate that writes less would look right.
    void poison_new_rows(const Plan& plan, const Buffers& buffers);
    void make_copies();

    Device& device_;
    const BenchMemory& memory_;
    const TuningTarget& target_;
    OpInputs inputs_;
    std::vector<std::map<std::string, std::unique_ptr<Buffer>>> copies_;  // beside memory_'s own
    std::vector<OpOutput> wanted_;
};

}  // namespace hetune
