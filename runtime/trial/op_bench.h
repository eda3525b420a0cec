// One op of a plan by itself, timed with the inputs that it found in a real step and with caches
// that do not know it. Whether its kernels are right is for trials to say (certify.h).
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

// Inputs that an op's kernels find: by (step of the op, parameter), and whole buffers by name.
struct OpInputs {
    std::map<std::pair<size_t, size_t>, std::vector<std::byte>> regions;
    std::map<std::string, std::vector<std::byte>> buffers;
};

// From a plan of the defaults whose steps before the op have just run. `target` is of that plan.
OpInputs read_inputs(Device& device, const PlanRunner& runner, const TuningTarget& target);

class OpBench {
  public:
    // `target`'s buffers are prepared in `memory`. All outlive this.
    OpBench(Device& device, const BenchMemory& memory, const TuningTarget& target, OpInputs inputs);

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
    // Buffers of a candidate: weights and KV caches are memory_'s, the others are made, zero, and
    // go into `own`.
    Buffers buffers_of(const Plan& plan, std::vector<std::unique_ptr<Buffer>>& own);
    void put_inputs(const Plan& plan, const Buffers& buffers);
    void make_copies();

    Device& device_;
    const BenchMemory& memory_;
    const TuningTarget& target_;
    OpInputs inputs_;
    std::vector<std::map<std::string, std::unique_ptr<Buffer>>> copies_;  // beside memory_'s own
};

}  // namespace hetune
