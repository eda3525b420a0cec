// The tunables of a kernel and of a plan: shapes, points, and which points a template takes. Needs
// no device.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernel_templates/catalogue.h"
#include "planner/plan/plan.h"

namespace hetune {

TargetLimits target_limits(const Arch& arch);

// The step's kernel is one of a registered template.
KernelShape shape_of(const Plan& plan, const PlanStep& step);
TuningPoint point_of(const KernelSpec& spec);
// The spec with the point's values in the place of its own.
KernelSpec with_point(KernelSpec spec, const TuningPoint& point);
// Every combination of the values that the template declares.
std::vector<TuningPoint> all_points(const TemplateInfo& info);
// Whether a point names exactly the tunables of the template, with values that it declares. What
// the template's own checks divide by is one of these values, so nothing else may reach them.
bool is_declared(const TemplateInfo& info, const TuningPoint& point);
std::string to_string(const TuningPoint& point);  // "kWaves=4", "-" when it is empty

// Names a plan by what it computes, whatever its tunables: a hash of its labels and shapes.
std::string plan_signature(const Plan& plan);

// By index of the op in the fused graph. Points that a template refuses on this arch are left out.
std::map<int, OpTunables> tunables_of_ops(const Plan& plan, const Arch& arch,
                                          const Tunings& tunings);

}  // namespace hetune
