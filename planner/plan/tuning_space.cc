#include "planner/tuning_space.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "kernel_templates/catalogue.h"
#include "planner/cost_model.h"

namespace hetune {
namespace {

const TemplateInfo& info_of(const KernelSpec& spec) { return *find_template(spec.name); }

// The steps of one op.
std::pair<size_t, size_t> steps_of_op(const Plan& plan, int op) {
    const auto first = std::ranges::find(plan.steps, op, &PlanStep::op);
    const auto last =
        std::find_if(first, plan.steps.end(), [&](const PlanStep& step) { return step.op != op; });
    return {static_cast<size_t>(first - plan.steps.begin()),
            static_cast<size_t>(last - plan.steps.begin())};
}

// All combinations of the values that the template declares.
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

// Whether a point names exactly the tunables of the template, with values that it declares. What
// the template's own checks divide by is one of these values, so nothing else may reach them.
bool is_declared(const TemplateInfo& info, const TuningPoint& point) {
    return point.size() == info.tunables.size() &&
           std::ranges::all_of(info.tunables, [&](const TemplateTunable& tunable) {
               const auto at = point.find(tunable.name);
               return at != point.end() && std::ranges::any_of(tunable.values, [&](int value) {
                          return std::to_string(value) == at->second;
                      });
           });
}

double model_us(const Plan& plan, const Arch& arch, int64_t context) {
    double us = 0;
    for (const PlanStep& step : plan.steps) us += predict(step, arch, context).us;
    return us;
}

// The op of `step` alone, from `plan`; `step` is an index there.
TuningCandidate candidate_of(const Plan& plan, size_t step, const Arch& arch, int64_t context) {
    const auto [first, last] = steps_of_op(plan, plan.steps[step].op);
    TuningCandidate candidate{.point = point_of(plan.steps[step].spec), .step = step - first};
    candidate.plan = {.model = plan.model,
                      .architecture = plan.architecture,
                      .arch = plan.arch,
                      .options = plan.options,
                      .buffers = plan.buffers,
                      .step_buffer = plan.step_buffer,
                      .last_step_buffer = plan.last_step_buffer,
                      .tokens_buffer = plan.tokens_buffer,
                      .logits_buffer = plan.logits_buffer,
                      .vocabulary = plan.vocabulary};
    candidate.plan.steps.assign(plan.steps.begin() + static_cast<std::ptrdiff_t>(first),
                                plan.steps.begin() + static_cast<std::ptrdiff_t>(last));
    candidate.model_us = model_us(candidate.plan, arch, context);
    return candidate;
}

}  // namespace

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
    KernelShape shape{.kernel = step.spec, .rows = plan.options.rows};
    for (const TemplateTunable& tunable : info_of(step.spec).tunables)
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
    return fmt::format("{} x{} {:016x}", plan.architecture, plan.options.rows, hash);
}

std::map<int, OpTunables> tunables_of_ops(const Plan& plan, const Arch& arch,
                                          const Tunings& tunings) {
    std::map<int, OpTunables> ops;
    for (const PlanStep& step : plan.steps) {
        if (info_of(step.spec).tunables.empty()) continue;
        const auto found = tunings.kernels.find(shape_of(plan, step).to_string());
        if (found == tunings.kernels.end()) continue;
        if (!is_declared(info_of(step.spec), found->second)) continue;
        if (point_of(step.spec) == found->second) continue;
        if (!refusal(with_point(step.spec, found->second), target_limits(arch)).empty()) continue;
        ops[step.op].emplace(step.spec.name, found->second);
    }
    return ops;
}

std::vector<TuningTarget> tuning_targets(const LayerGraph& graph, const ModelFile& file,
                                         const Arch& arch, PlanOptions options, int64_t context,
                                         const std::function<bool(const std::string&)>& wanted) {
    options.tunings = {};
    const Plan base = make_plan(graph, file, arch, options);
    std::vector<TuningTarget> targets;
    for (size_t i = 0; i < base.steps.size(); ++i) {
        const KernelSpec& spec = base.steps[i].spec;
        const TemplateInfo& info = info_of(spec);
        if (info.tunables.empty() || !wanted(spec.name)) continue;
        const KernelShape shape = shape_of(base, base.steps[i]);
        const auto known = std::ranges::find(targets, shape, &TuningTarget::shape);
        if (known != targets.end()) {
            ++known->launches;
            continue;
        }
        const auto [first, last] = steps_of_op(base, base.steps[i].op);
        TuningTarget target{
            .shape = shape, .label = base.steps[i].label, .launches = 1, .first_step = first};
        target.candidates.push_back(candidate_of(base, i, arch, context));
        std::set<std::string> seen = {spec.to_string()};
        for (const TuningPoint& point : all_points(info)) {
            const std::string why = refusal(with_point(spec, point), target_limits(arch));
            if (!why.empty()) {
                target.pruned.emplace_back(point, why);
                continue;
            }
            if (point == target.candidates[0].point) continue;
            options.tunings.kernels = {{shape.to_string(), point}};
            const Plan varied = make_plan(graph, file, arch, options);
            // A lowering may bound a value: what two points become in common is tried once.
            if (varied.steps.size() == base.steps.size() &&
                seen.insert(varied.steps[i].spec.to_string()).second) {
                target.candidates.push_back(candidate_of(varied, i, arch, context));
                TuningCandidate& candidate = target.candidates.back();
                if (!is_declared(info, candidate.point)) candidate.point = point;
            }
        }
        if (target.candidates.size() > 1) targets.push_back(std::move(target));
    }
    std::ranges::stable_sort(targets, std::greater(), &TuningTarget::model_us);
    return targets;
}

}  // namespace hetune
