#include "planner/tuning_targets.h"

#include <algorithm>
#include <set>

#include "kernel_templates/catalogue.h"
#include "planner/make_plan.h"
#include "planner/plan/cost_model.h"

namespace hetune {
namespace {

// The steps of one op.
std::pair<size_t, size_t> steps_of_op(const Plan& plan, int op) {
    const auto first = std::ranges::find(plan.steps, op, &PlanStep::op);
    const auto last =
        std::find_if(first, plan.steps.end(), [&](const PlanStep& step) { return step.op != op; });
    return {static_cast<size_t>(first - plan.steps.begin()),
            static_cast<size_t>(last - plan.steps.begin())};
}

double model_us(const Plan& plan, const Arch& arch, int64_t context) {
    double us = 0;
    for (const PlanStep& step : plan.steps) us += predict(plan, step, arch, context).us;
    return us;
}

// Whether the step is tuned together with that of one row: tuning_space.cc, tuned_rows.
bool shares_tunings(const PlanOptions& options) { return options.decodes() && options.rows > 1; }

constexpr const char* kTokens = "kTokens";

// As it is kept. How many of several sequences share a pass over the weights follows from their
// number, so that the point for one row serves all.
TuningPoint kept_point(const PlanOptions& options, TuningPoint point) {
    if (const auto tokens = point.find(kTokens); tokens != point.end() && shares_tunings(options))
        tokens->second = std::to_string(1);
    return point;
}

// The op of `step` alone, from `plan`; `step` is an index there.
TuningCandidate candidate_of(const Plan& plan, size_t step, const Arch& arch, int64_t context) {
    const auto [first, last] = steps_of_op(plan, plan.steps[step].op);
    TuningCandidate candidate{
        .point = kept_point(plan.options, point_of(plan.spec(plan.steps[step]))),
        .step = step - first};
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
    for (PlanStep& taken : candidate.plan.steps)
        taken.kernel = candidate.plan.add_kernel(plan.spec(taken));
    candidate.model_us = model_us(candidate.plan, arch, context);
    return candidate;
}

}  // namespace

std::vector<TuningTarget> tuning_targets(const LayerGraph& graph, const ModelFile& file,
                                         const Arch& arch, PlanOptions options, int64_t context,
                                         const std::function<bool(const std::string&)>& wanted) {
    options.tunings = {};
    const Plan base = make_plan(graph, file, arch, options);
    std::vector<TuningTarget> targets;
    for (size_t i = 0; i < base.steps.size(); ++i) {
        const KernelSpec& spec = base.spec(base.steps[i]);
        const TemplateInfo& info = *find_template(spec.name);
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
        std::set<KernelSpec> seen = {spec};
        for (const TuningPoint& point : all_points(info)) {
            if (point != kept_point(options, point)) continue;
            TuningPoint taken = point;
            if (shares_tunings(options)) taken.erase(kTokens);
            const std::string why = refusal(with_point(spec, taken), target_limits(arch));
            if (!why.empty()) {
                target.pruned.emplace_back(point, why);
                continue;
            }
            if (point == target.candidates[0].point) continue;
            options.tunings.kernels = {{shape.to_string(), point}};
            const Plan varied = make_plan(graph, file, arch, options);
            // A lowering may bound a value: what two points become in common is tried once.
            if (varied.steps.size() == base.steps.size() &&
                seen.insert(varied.spec(varied.steps[i])).second) {
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
