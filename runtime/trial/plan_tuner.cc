#include "runtime/trial/plan_tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "planner/fusion/rule.h"
#include "planner/lower/lowerings.h"
#include "planner/lower/plan_builder.h"
#include "planner/make_plan.h"
#include "planner/plan/tuning_space.h"
#include "runtime/load/model_plans.h"
#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "runtime/trial/race.h"

namespace hetune {
namespace {

constexpr int kRounds = 9, kPlanDuelRounds = 15;
constexpr uint64_t kMostOracleBytes = 64 << 20;  // the oracle takes seconds a token beyond
constexpr int kCheckedSteps = 4;                 // of decoding
constexpr size_t kUntuned = 0, kTuned = 1;

bool same_steps(const Plan& a, const Plan& b) {
    return a.kernels == b.kernels &&
           std::ranges::equal(a.steps, b.steps, {}, &PlanStep::kernel, &PlanStep::kernel);
}

NamedValues point_without(const std::set<std::string>& names) {
    NamedValues point;
    for (const std::string& name : names) point[name] = "off";
    return point;
}

}  // namespace

int shape_rows(int rows) {
    return static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::max(1, rows))));
}

PlanTuner::PlanTuner(Device& device, KernelLibrary& library, BenchMemory& memory,
                     const LayerGraph& graph, const ModelFile& file, PlanOptions options)
    : device_(device),
      library_(library),
      memory_(memory),
      graph_(graph),
      file_(file),
      options_(std::move(options)) {
    options_.tunings = {};
    tokens_ = some_tokens(options_.decodes() ? kCheckedSteps : options_.rows, graph.vocabulary);
}

// False where its kernels do not compile, or compute something else.
bool PlanTuner::add(const Tunings& tunings, std::set<std::string> without) {
    PlanOptions options = options_;
    options.tunings.kernels = tunings.kernels;
    if (options_.sequences > 1) options.tunings.without = tunings.without;
    options.without = without;
    Plan plan = make_plan(graph_, file_, device_.arch(), options);
    for (const Variant& variant : variants_)
        if (!variant.without.empty() && same_steps(plan, variant.runner->plan())) return false;
    try {
        load_kernels(device_, library_, plan, kernels_);
    } catch (const CompileError& error) {
        if (error.cause() == CompileError::Cause::kGivenUp) throw;
        return false;
    }
    Variant variant{std::move(without),
                    std::make_unique<PlanRunner>(device_, memory_, std::move(plan), kernels_)};
    if (reference_.empty()) read_reference();
    variant.kl = distance(*variant.runner);
    if (!(variant.kl <= kMostKl) && variants_.size() > kTuned) return false;
    variant.runner->set_last_step();
    variants_.push_back(std::move(variant));
    return true;
}

void PlanTuner::read_reference() {
    if (!memory_.synthetic() && file_.bytes() <= kMostOracleBytes) {
        ReferenceEngine oracle(file_, graph_, std::ssize(tokens_));
        SequenceState sequence;
        oracle.take_slot(sequence, static_cast<int64_t>(tokens_.size()), 0);
        reference_ = append_for_output(oracle, sequence, tokens_, SequenceState::Path::kPrompt);
        checked_with_ = "oracle";
        return;
    }
    // A step that decodes has one row here: unfused kernels take all rows as one sequence's.
    PlanOptions options = options_;
    if (options.decodes()) options = with_kind(options, kDecodeStep);
    options.fusion = false;
    Plan plan = make_plan(graph_, file_, device_.arch(), options);
    load_kernels(device_, library_, plan, kernels_);
    PlanRunner runner(device_, memory_, std::move(plan), kernels_);
    reference_ = runner.logits_of(tokens_);
    checked_with_ = "unfused plan";
}

double PlanTuner::distance(PlanRunner& runner) {
    return compare_logits(reference_, runner.logits_of(tokens_), graph_.vocabulary).mean_kl;
}

// Each rule and each lowering that there is another for, left out alone; and all rules together.
void PlanTuner::add_variants(const Plan& base, const Tunings& tunings,
                             const std::function<bool()>& over) {
    std::vector<std::set<std::string>> choices;
    std::set<std::string> all_rules;
    for (const FusionRule& rule : fusion_rules()) {
        choices.push_back({rule.name});
        all_rules.insert(rule.name);
    }
    choices.push_back(all_rules);
    for (const std::string& lowering : lowerings_with_another()) choices.push_back({lowering});
    for (const auto& without : choices) {
        if (over()) return;
        PlanOptions options = options_;
        options.tunings.kernels = tunings.kernels;
        options.without = without;
        if (!same_steps(make_plan(graph_, file_, device_.arch(), options), base))
            add(tunings, without);
    }
}

double PlanTuner::time_us(size_t variant) {
    PlanRunner& runner = *variants_[variant].runner;
    return 1e3 * device_.time_ms([&] { runner.bound().run(options_.rows); });
}

std::optional<TunedPlan> PlanTuner::run(const Tunings& tunings, const std::function<bool()>& over) {
    TunedPlan result{.rows = options_.rows, .sequences = options_.sequences};
    result.signature = plan_signature(make_plan(graph_, file_, device_.arch(), options_));
    for (const Tunings& of : {Tunings{}, tunings}) {
        if (over()) return std::nullopt;
        if (!add(of, {}))
            throw std::runtime_error(
                fmt::format("a plan of {} rows: its kernels do not compile", options_.rows));
    }
    result.default_kl = variants_[kUntuned].kl;
    if (!(result.default_kl <= kMostKl))
        throw WrongPlan(
            fmt::format("the default plan of {} rows is wrong: its logits are {:.3g} (KL) from "
                        "those of the {}; "
                        "`hetune verify` shows where",
                        options_.rows, result.default_kl, checked_with_));
    if (options_.sequences == 1) add_variants(variants_[kTuned].runner->plan(), tunings, over);

    std::vector<size_t> all(variants_.size());
    for (size_t i = 0; i < all.size(); ++i) all[i] = i;
    const std::vector<double> unmodelled(variants_.size() + 1);
    Race race(
        unmodelled, [this](size_t i) { return time_us(i); }, over);
    for (const size_t i : all) {
        if (over()) return std::nullopt;
        time_us(i);  // captures the graph
    }
    if (!race.round(all, kRounds)) return std::nullopt;

    // Those that help alone are tried together; the best of all that is beyond noise wins.
    std::set<std::string> helping;
    std::vector<size_t> finalists = {kUntuned, kTuned};
    for (const size_t i : all)
        if (i > kTuned && is_faster(race.timing(i), race.timing(kTuned))) {
            finalists.push_back(i);
            helping.insert(variants_[i].without.begin(), variants_[i].without.end());
        }
    if (finalists.size() > 3 && add(tunings, helping)) {
        finalists.push_back(variants_.size() - 1);
        time_us(variants_.size() - 1);
    }
    Race duel(
        unmodelled, [this](size_t i) { return time_us(i); }, over);
    if (!duel.round(finalists, kPlanDuelRounds)) return std::nullopt;

    result.kernels_help =
        variants_[kTuned].kl <= kMostKl && !is_faster(duel.timing(kUntuned), duel.timing(kTuned));
    size_t winner = result.kernels_help ? kTuned : kUntuned;
    for (const size_t i : finalists)
        if (i > kTuned && result.kernels_help && is_faster(duel.timing(i), duel.timing(kTuned)) &&
            duel.timing(i).us < duel.timing(winner).us)
            winner = i;
    for (size_t i = 0; i < variants_.size(); ++i) {
        const bool final = std::ranges::find(finalists, i) != finalists.end();
        if (!final && i >= all.size()) continue;
        const Timing timing = final ? duel.timing(i) : race.timing(i);
        NamedValues point = point_without(variants_[i].without);
        if (i == kUntuned) point = {{"tuned kernels", "off"}};
        result.variants.push_back({.point = std::move(point),
                                   .state = "timed",
                                   .us = timing.us,
                                   .noise_us = timing.noise_us,
                                   .samples = timing.samples});
    }
    result.default_us = duel.timing(kUntuned).us;
    result.tuned_us = duel.timing(winner).us;
    result.noise_us = duel.timing(winner).noise_us;
    result.tuned_kl = variants_[winner].kl;
    result.without.assign(variants_[winner].without.begin(), variants_[winner].without.end());
    result.checked_with = checked_with_;
    return result;
}

}  // namespace hetune
