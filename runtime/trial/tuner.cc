#include "runtime/trial/tuner.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <numeric>

#include "planner/make_plan.h"
#include "runtime/trial/certify.h"
#include "runtime/trial/op_bench.h"
#include "runtime/trial/tunings_for.h"

namespace hetune {
namespace {

constexpr int kDuelRounds = 15;   // of the finalists, when nothing is compiled beside them
constexpr size_t kFinalists = 3;  // beside the default

TuningTrial trial_of(const TuningCandidate& candidate, const CompiledCandidate* compiled) {
    TuningTrial trial{.point = candidate.point, .model_us = candidate.model_us};
    if (compiled == nullptr) return trial;
    trial.compile_ms = compiled->compile_ms;
    trial.vgprs = compiled->resources.vgprs;
    trial.lds_bytes = compiled->resources.lds_bytes;
    if (compiled->refused.empty()) return trial;
    trial.state = "refused";
    trial.why = compiled->refused;
    return trial;
}

void set_timing(TuningTrial& trial, const Timing& timing) {
    trial.state = "timed";
    trial.us = timing.us;
    trial.noise_us = timing.noise_us;
    trial.samples = timing.samples;
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view text) {
    // After a mismatch only the last * takes one character more: an earlier one could not help,
    // since the last one takes any text. So the time is a product of two lengths, and never
    // exponential.
    size_t at = 0, star = pattern.npos, star_end = 0;
    for (size_t i = 0; i < text.size();) {
        if (at < pattern.size() && pattern[at] == '*') {
            star = at++;
            star_end = i;
        } else if (at < pattern.size() && (pattern[at] == '?' || pattern[at] == text[i])) {
            ++at;
            ++i;
        } else if (star != pattern.npos) {
            at = star + 1;
            i = ++star_end;
        } else {
            return false;
        }
    }
    return pattern.find_first_not_of('*', at) == pattern.npos;
}

Tuner::Tuner(const Arch& arch, Device* device, KernelLibrary* library, TuningStore& store,
             const ModelFile& file, TileStore* tiles, TuneOptions options)
    : arch_(arch),
      device_(device),
      library_(library),
      store_(store),
      file_(file),
      options_(std::move(options)),
      graph_(build_layer_graph(file)) {
    find_strategy(options_.strategy);  // throws for an unknown one
    for (const StepKind& kind : options_.kinds) {
        options_.memory.sequences = std::max(options_.memory.sequences, kind.sequences);
        if (kind.sequences == 1 && kind.rows > options_.memory.context)
            throw std::runtime_error(
                fmt::format("{} rows need a context of as many tokens; it has {}", kind.rows,
                            options_.memory.context));
    }
    if (device != nullptr) {
        device_name_ = device->info().name;
        options_.memory.over = [this] { return over(); };
        memory_ = std::make_unique<BenchMemory>(*device, file, graph_, tiles, options_.memory);
    }
    if (library != nullptr) {
        compiler_ = library->compiler().identity();
        library->give_up_when([this] { return over(); });
    }
    known_ = store.all(arch.name);
}

Tuner::~Tuner() {
    if (library_ != nullptr) library_->give_up_when({});
}

double Tuner::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - options_.started)
        .count();
}

bool Tuner::over() const {
    if (options_.stop && options_.stop()) return true;
    return options_.budget_seconds > 0 && seconds() > options_.budget_seconds;
}

TuningKey Tuner::key_of(const std::string& kernel, const std::string& shape) const {
    return {kernel, shape, arch_.name, device_name_, compiler_};
}

Tunings Tuner::found_so_far() const {
    return tunings_for(known_, arch_, device_name_, compiler_, TuneUse::kMeasured).tunings;
}

void Tuner::report(const std::string& stage) {
    if (!options_.progress) return;
    const double each =
        tried_ > 0 ? (seconds() - timing_started_) / static_cast<double>(tried_) : 0;
    double left = each * static_cast<double>(total_ - done_);
    if (options_.budget_seconds > 0 && tried_ > 0)
        left = std::clamp(options_.budget_seconds - seconds(), 0.0, left);
    options_.progress({stage, done_, total_, left});
}

TuneResult Tuner::run() {
    result_.measured = device_ != nullptr;
    for (const StepKind& kind : options_.kinds) tune_kind(kind);
    result_.stopped = over();
    result_.seconds = seconds();
    return std::move(result_);
}

int64_t Tuner::context_of(const StepKind& kind) const {
    const BenchMemory::Options& memory = options_.memory;
    return kind.sequences > 1 && memory.batch_context > 0 ? memory.batch_context : memory.context;
}

std::vector<TuningTarget> Tuner::targets_to_tune(const StepKind& kind) {
    std::vector<TuningTarget> targets = tuning_targets(
        graph_, file_, arch_, with_kind(options_.plan, kind), context_of(kind),
        [&](const std::string& kernel) { return matches_glob(options_.kernels, kernel); });
    std::vector<TuningKey> of_this_sweep;  // by the steps before
    for (const TunedKernel& kernel : result_.kernels) of_this_sweep.push_back(kernel.record.key);
    std::erase_if(targets, [&](const TuningTarget& target) {
        const TuningKey key = key_of(target.shape.kernel.name, target.shape.to_string());
        const bool shared = std::ranges::find(of_this_sweep, key) != of_this_sweep.end();
        const auto known = std::ranges::find(known_, key, &TuningRecord::key);
        if (known == known_.end() || (options_.again && !shared)) return false;
        result_.kernels.push_back({*known, target.label, target.shape.rows, kind.sequences,
                                   target.launches, shared ? "shared" : "stored"});
        return true;
    });
    return targets;
}

void Tuner::tune_kind(const StepKind& kind) {
    kind_ = kind;
    if (memory_) memory_->hold(kind.sequences);
    const std::vector<TuningTarget> targets = targets_to_tune(kind);
    total_ += targets.size();
    if (!targets.empty()) tune_targets(kind, targets);
    if (device_ != nullptr && options_.whole_plan && !over()) tune_plan(kind);
}

void Tuner::tune_targets(const StepKind& kind, const std::vector<TuningTarget>& targets) {
    report("compile");
    LoadedKernels kernels;
    std::unique_ptr<PlanRunner> runner;
    if (device_ != nullptr) runner = warm_runner(kind, kernels);
    std::unique_ptr<CandidateCompiler> compiler;
    if (library_ != nullptr && !over())
        compiler = std::make_unique<CandidateCompiler>(*library_, targets);
    // A compiler on the cores that run the kernels would be timed too.
    if (compiler != nullptr && arch_.on_host) compiler->wait_for_all([&] { return over(); });
    timing_started_ = seconds();
    tried_ = 0;
    for (size_t i = 0; i < targets.size(); ++i) {
        const TuningTarget& target = targets[i];
        report(fmt::format("{} x{}", target.shape.kernel.name,
                           std::max(target.shape.rows, kind.sequences)));
        std::optional<std::vector<CompiledCandidate>> compiled;
        if (compiler != nullptr)
            compiled = compiler->get(i, [&] { return over(); });
        else if (library_ == nullptr)
            compiled.emplace();
        if (!compiled || over()) {
            result_.kernels.push_back(untried(target));
        } else {
            keep(device_ != nullptr ? time_target(target, *std::move(compiled), *runner)
                                    : rank_target(target, *compiled));
            ++tried_;
        }
        ++done_;
    }
    report(fmt::format("tuned x{}", kind.rows));
}

std::unique_ptr<PlanRunner> Tuner::warm_runner(const StepKind& kind, LoadedKernels& kernels) {
    Plan plan = make_plan(graph_, file_, arch_, with_kind(options_.plan, kind));
    std::unique_ptr<PlanRunner> runner;
    try {
        load_kernels(*device_, *library_, plan, kernels);
        runner = std::make_unique<PlanRunner>(*device_, *memory_, std::move(plan), kernels);
    } catch (const CompileError& error) {
        if (error.cause() != CompileError::Cause::kGivenUp) throw;
        return nullptr;
    } catch (const LoadCancelled&) {
        return nullptr;
    }
    runner->set_last_step();
    // Brings weights into memory, and states from zero.
    return run_steps(*runner, runner->plan().steps.size()) ? std::move(runner) : nullptr;
}

bool Tuner::run_steps(PlanRunner& runner, size_t count) const {
    for (size_t step = 0; step < count; ++step) {
        if (over()) return false;
        runner.bound().launch(runner.rows(), step, step + 1);
    }
    device_->synchronize();
    return !over();
}

TunedKernel Tuner::untried(const TuningTarget& target) const {
    TuningRecord record{.key = key_of(target.shape.kernel.name, target.shape.to_string()),
                        .point = target.candidates[0].point,
                        .default_point = target.candidates[0].point,
                        .context = context_of(kind_),
                        .origin = options_.origin,
                        .created = std::time(nullptr)};
    record.origin["strategy"] = options_.strategy;
    if (kind_.sequences > 1) record.origin["sequences"] = std::to_string(kind_.sequences);
    return {std::move(record), target.label,    target.shape.rows,
            kind_.sequences,   target.launches, "stopped"};
}

std::vector<size_t> Tuner::starting_points(const TuningTarget& target) const {
    std::vector<size_t> points;
    for (const TuningRecord& record : known_)
        if (record.measured && record.key.shape == target.shape.to_string())
            for (size_t i = 1; i < target.candidates.size(); ++i)
                if (target.candidates[i].point == record.point &&
                    std::ranges::find(points, i) == points.end())
                    points.push_back(i);
    return points;
}

std::optional<std::vector<std::string>> Tuner::failures_of(
    const TuningTarget& target, const std::vector<CompiledCandidate>& compiled,
    LoadedKernels& kernels) {
    TrialDevice on{.device = *device_};
    std::vector<ToCertify> untried;
    for (size_t i = 0; i < compiled.size(); ++i) {
        if (!compiled[i].refused.empty()) continue;
        const Plan& plan = target.candidates[i].plan;
        for (size_t k = 0; k < plan.kernels.size(); ++k) {
            if (kernels.contains(plan.kernels[k])) continue;
            kernels.load(*device_, plan.kernels[k], compiled[i].codes[k]);
            const LoadedKernel& kernel = kernels.at(plan.kernels[k]);
            untried.push_back(
                {kernel.object,
                 {on, *kernel.module, plan, plan.first_use(static_cast<int>(k)), file_}});
        }
    }
    std::map<KernelSpec, std::string> by_kernel;
    struct Over {};
    try {
        for (const CertifiedKernel& tried :
             certify(library_->store().facts(), untried, CertifyMode::kOnce, options_.again,
                     [&](const CertifiedKernel&) {
                         if (over()) throw Over();
                     }))
            by_kernel[tried.spec] = tried.certificate.failure;
    } catch (const Over&) {
        return std::nullopt;
    }
    std::vector<std::string> failures(compiled.size());
    for (size_t i = 0; i < compiled.size(); ++i)
        for (const KernelSpec& spec : target.candidates[i].plan.kernels)
            if (const auto found = by_kernel.find(spec);
                found != by_kernel.end() && !found->second.empty())
                failures[i] = fmt::format("the trial of {} failed: {}", spec.name, found->second);
    return failures;
}

TunedKernel Tuner::time_target(const TuningTarget& target, std::vector<CompiledCandidate> compiled,
                               PlanRunner& runner) {
    TunedKernel result = untried(target);
    if (!run_steps(runner, target.first_step)) return result;
    LoadedKernels kernels;
    const std::optional<std::vector<std::string>> failures = failures_of(target, compiled, kernels);
    if (!failures) return result;
    OpBench bench(*device_, *memory_, target, read_inputs(*device_, runner, target));
    std::vector<TuningTrial>& trials = result.record.trials;
    std::vector<OpBench::Timed> timed;
    std::vector<size_t> racing;  // indices of candidates; the first is the default
    std::vector<double> model_us;
    for (size_t i = 0; i < target.candidates.size(); ++i) {
        const TuningCandidate& candidate = target.candidates[i];
        TuningTrial& trial = trials.emplace_back(trial_of(candidate, &compiled[i]));
        if (!trial.state.empty()) continue;
        if (over()) return untried(target);
        // What is wrong may also be fast.
        trial.why = (*failures)[i];
        trial.state = trial.why.empty() ? "untimed" : "wrong";
        if (!trial.why.empty()) continue;
        racing.push_back(i);
        model_us.push_back(candidate.model_us);
        timed.push_back(bench.prepare(candidate, kernels));
    }
    if (racing.empty() || racing[0] != 0)
        throw CompileError(CompileError::Cause::kGate,
                           fmt::format("{}: the default itself is refused: {}",
                                       target.shape.to_string(), trials[0].why));
    const auto sample = [&](size_t i) { return timed[i].time_us(*device_); };
    const auto stop = [&] { return over(); };
    Race race(model_us, sample, stop);
    if (!find_strategy(options_.strategy).run(race)) return result;

    std::vector<size_t> order;
    for (size_t i = 0; i < racing.size(); ++i) {
        if (race.timing(i).samples == 0) continue;
        set_timing(trials[racing[i]], race.timing(i));
        order.push_back(i);
    }
    order = race.in_order(std::move(order));
    std::vector<size_t> finalists = {0};
    const auto enter = [&](size_t i) {
        if (std::ranges::find(finalists, i) == finalists.end()) finalists.push_back(i);
    };
    for (size_t i = 0; i < order.size() && finalists.size() <= kFinalists; ++i) enter(order[i]);
    for (const size_t start : starting_points(target))
        if (const auto at = std::ranges::find(racing, start); at != racing.end())
            enter(static_cast<size_t>(at - racing.begin()));
    Race duel(model_us, sample, stop);
    if (!duel.round(finalists, kDuelRounds)) return result;

    size_t winner = 0;
    for (const size_t i : finalists) {
        set_timing(trials[racing[i]], duel.timing(i));
        if (is_faster(duel.timing(i), duel.timing(0)) && duel.timing(i).us < duel.timing(winner).us)
            winner = i;
    }
    TuningRecord& record = result.record;
    record.point = target.candidates[racing[winner]].point;
    record.us = duel.timing(winner).us;
    record.noise_us = duel.timing(winner).noise_us;
    record.default_us = duel.timing(0).us;
    record.measured = true;
    for (const auto& [point, why] : target.pruned)
        trials.push_back({.point = point, .state = "pruned", .why = why});
    result.source = "measured";
    return result;
}

TunedKernel Tuner::rank_target(const TuningTarget& target,
                               const std::vector<CompiledCandidate>& compiled) {
    TunedKernel result = untried(target);
    TuningRecord& record = result.record;
    for (size_t i = 0; i < target.candidates.size(); ++i) {
        const TuningCandidate& candidate = target.candidates[i];
        TuningTrial& trial = record.trials.emplace_back(
            trial_of(candidate, compiled.empty() ? nullptr : &compiled[i]));
        if (!trial.state.empty()) continue;
        trial.state = "ranked";
        const PlanStep& tuned = candidate.plan.steps[candidate.step];
        const int64_t context = context_of(kind_);
        trial.model_us +=
            predict(candidate.plan, tuned, arch_, context, {trial.vgprs, trial.lds_bytes}).us -
            predict(candidate.plan, tuned, arch_, context).us;
        if (i == 0) record.us = record.default_us = trial.model_us;
        if (trial.model_us < (1 - kLeastGain) * record.us) {
            record.us = trial.model_us;
            record.point = trial.point;
        }
    }
    for (const auto& [point, why] : target.pruned)
        record.trials.push_back({.point = point, .state = "pruned", .why = why});
    result.source = "ranked";
    return result;
}

void Tuner::keep(TunedKernel kernel) {
    if (kernel.source != "stopped") {
        store_.put(kernel.record, options_.again);
        std::erase_if(known_, [&](const TuningRecord& r) { return r.key == kernel.record.key; });
        known_.push_back(kernel.record);
    }
    result_.kernels.push_back(std::move(kernel));
}

void Tuner::take_back(const StepKind& kind) {
    for (TunedKernel& kernel : result_.kernels) {
        const bool of_kind = kind.sequences > 1
                                 ? kernel.sequences == kind.sequences && kernel.source == "measured"
                                 : kernel.sequences == 1 && kernel.rows == shape_rows(kind.rows);
        if (!of_kind || kernel.record.point == kernel.record.default_point) continue;
        kernel.record.point = kernel.record.default_point;
        kernel.record.us = kernel.record.default_us;
        store_.put(kernel.record, true);
    }
    known_ = store_.all(arch_.name);
}

void Tuner::tune_plan(const StepKind& kind) {
    report(fmt::format("whole plan x{}", kind.rows));
    PlanTuner tuner(*device_, *library_, *memory_, graph_, file_, with_kind(options_.plan, kind));
    std::optional<TunedPlan> tuned;
    try {
        tuned = tuner.run(found_so_far(), [&] { return over(); });
    } catch (const WrongPlan& wrong) {  // what was found for its kernels stays
        result_.notes.push_back(fmt::format("not tuned as a whole: {}", wrong.what()));
    } catch (const CompileError& error) {
        if (error.cause() != CompileError::Cause::kGivenUp) throw;
    }
    if (!tuned) return;
    if (!tuned->kernels_help) {
        result_.notes.push_back(
            kind.sequences == 1
                ? fmt::format("{} rows: together the tuned kernels are slower than the defaults, "
                              "which stay",
                              kind.rows)
                : fmt::format("{} sequences: together the tuned kernels are slower than the "
                              "defaults, which take the place of those that were found for this "
                              "step; those of one row stay",
                              kind.sequences));
        take_back(kind);
    }
    // A choice between variants is made for one row and holds for all steps that decode.
    if (kind.sequences > 1) {
        result_.plans.push_back(*std::move(tuned));
        return;
    }
    TuningRecord record{.key = key_of(kWholePlan, tuned->signature),
                        .us = tuned->tuned_us,
                        .default_us = tuned->default_us,
                        .noise_us = tuned->noise_us,
                        .measured = true,
                        .context = context_of(kind),
                        .trials = tuned->variants,
                        .origin = options_.origin,
                        .created = std::time(nullptr)};
    for (const std::string& name : tuned->without) record.point[name] = "off";
    store_.put(record, true);
    std::erase_if(known_, [&](const TuningRecord& r) { return r.key == record.key; });
    known_.push_back(std::move(record));
    result_.plans.push_back(*std::move(tuned));
}

}  // namespace hetune
