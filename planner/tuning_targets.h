// Every valid point of the kernels of a plan that can be tuned, as steps that are ready to be
// bound. Needs no device.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "planner/plan/plan.h"
#include "planner/plan/tuning_space.h"

namespace hetune {

struct TuningCandidate {
    TuningPoint point;
    Plan plan;        // buffers of the whole plan, but only the steps of the op
    size_t step = 0;  // among them, the one that is tuned
    double model_us = 0;
};

// One shape that a plan has. The first candidate is the default.
struct TuningTarget {
    KernelShape shape;
    std::string label;      // of the first step that has it
    int launches = 0;       // steps of the plan that have it
    size_t first_step = 0;  // of its op, in the plan
    std::vector<TuningCandidate> candidates;
    std::vector<std::pair<TuningPoint, std::string>>
        pruned;  // before anything is compiled, and why

    // Of all launches by the default, as the cost model says.
    double model_us() const { return launches * candidates.at(0).model_us; }
};

// Those whose template `wanted` takes and that have more than one candidate, the most expensive
// first. `options.tunings` is not looked at.
std::vector<TuningTarget> tuning_targets(const LayerGraph& graph, const ModelFile& file,
                                         const Arch& arch, PlanOptions options, int64_t context,
                                         const std::function<bool(const std::string&)>& wanted);

}  // namespace hetune
