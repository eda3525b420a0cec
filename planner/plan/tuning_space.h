// Which kernels of a plan can be tuned, and every valid point of their spaces, as steps that are
// ready to be bound. Needs no device.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernel_templates/catalogue.h"
#include "planner/plan.h"

namespace hetune {

TargetLimits target_limits(const Arch& arch);

// Of a step whose spec is that of a registered template.
KernelShape shape_of(const Plan& plan, const PlanStep& step);
TuningPoint point_of(const KernelSpec& spec);
// The spec with the point's values in the place of its own.
KernelSpec with_point(KernelSpec spec, const TuningPoint& point);
std::string to_string(const TuningPoint& point);  // "kWaves=4", "-" when it is empty

// Names a plan by what it computes, whatever its tunables: a hash of its labels and shapes.
std::string plan_signature(const Plan& plan);

// By index of the op in the fused graph. Points that a template refuses on this arch are left out.
std::map<int, OpTunables> tunables_of_ops(const Plan& plan, const Arch& arch,
                                          const Tunings& tunings);

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
