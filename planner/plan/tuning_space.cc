#include "planner/plan/tuning_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

// Steps that decode for several sequences take the tunings of those for one, so that a sequence's
// sums are added in one order whoever shares its steps.
int tuned_rows(const Plan& plan) { return plan.options.decodes() ? 1 : plan.options.rows; }

const TemplateInfo& info_of(const KernelSpec& spec) { return *find_template(spec.name); }

}  // namespace

std::vector<TuningPoint> all_points(const TemplateInfo& info) {
    std::vector<TuningPoint> points = {{}};
    for (const TemplateTunable& tunable : info.tunables) {
        std::vector<TuningPoint> longer;
        for (const TuningPoint& point : points)
            for (const int value : tunable.values) {
                longer.push_back(point);
                longer.back()[tunable.name] = std::to_string(value);
            }
        points = std::move(longer);
    }
    return points;
}

bool is_declared(const TemplateInfo& info, const TuningPoint& point) {
    return point.size() == info.tunables.size() &&
           std::ranges::all_of(info.tunables, [&](const TemplateTunable& tunable) {
               const auto at = point.find(tunable.name);
               return at != point.end() && std::ranges::any_of(tunable.values, [&](int value) {
                          return std::to_string(value) == at->second;
                      });
           });
}

std::string KernelShape::to_string() const {
    return fmt::format("{} x{}", kernel.to_string(), rows);
}

std::string to_string(const TuningPoint& point) {
    std::string text;
    for (const auto& [name, value] : point) text += (text.empty() ? "" : " ") + name + "=" + value;
    return text.empty() ? "-" : text;
}

TargetLimits target_limits(const Arch& arch) {
    return {.max_threads = 1024, .lds_bytes = arch.lds_bytes_per_group};
}

KernelShape shape_of(const Plan& plan, const PlanStep& step) {
    KernelShape shape{.kernel = plan.spec(step), .rows = tuned_rows(plan)};
    for (const char* same_sums : {"kMatrix", "kTiledInput"})
        shape.kernel.constants.erase(same_sums);
    // kTokens, the rows that share a read of weights, changes no sum either.
    if (plan.options.decodes()) shape.kernel.constants.erase("kTokens");
    for (const TemplateTunable& tunable : info_of(shape.kernel).tunables)
        shape.kernel.constants.erase(tunable.name);
    for (const PlanArg& arg : step.args)
        if (arg.buffer == plan.last_step_buffer && plan.last_step_buffer >= 0) shape.rows = 1;
    shape.rows = static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(1, shape.rows))));
    return shape;
}

TuningPoint point_of(const KernelSpec& spec) {
    TuningPoint point;
    for (const TemplateTunable& tunable : info_of(spec).tunables)
        if (const auto at = spec.constants.find(tunable.name); at != spec.constants.end())
            point[tunable.name] = at->second;
    return point;
}

KernelSpec with_point(KernelSpec spec, const TuningPoint& point) {
    for (const auto& [name, value] : point) spec.constants[name] = value;
    return spec;
}

std::string plan_signature(const Plan& plan) {
    // FNV-1a: a name, not a check.
    uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&](const std::string& text) {
        for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    };
    for (const PlanStep& step : plan.steps) add(step.label + shape_of(plan, step).to_string());
    return fmt::format("{} x{} {:016x}", plan.architecture, tuned_rows(plan), hash);
}

std::map<int, OpTunables> tunables_of_ops(const Plan& plan, const Arch& arch,
                                          const Tunings& tunings) {
    std::map<int, OpTunables> ops;
    for (const PlanStep& step : plan.steps) {
        const KernelSpec& spec = plan.spec(step);
        if (info_of(spec).tunables.empty()) continue;
        const auto found = tunings.kernels.find(shape_of(plan, step).to_string());
        if (found == tunings.kernels.end()) continue;
        if (!is_declared(info_of(spec), found->second)) continue;
        if (point_of(spec) == found->second) continue;
        if (!refusal(with_point(spec, found->second), target_limits(arch)).empty()) continue;
        ops[step.op].emplace(spec.name, found->second);
    }
    return ops;
}

}  // namespace hetune
