#include "tools/bench_cases.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "planner/plan/plan_text.h"
#include "runtime/trial/plan_runner.h"

namespace hetune {
namespace {

double clock_seconds(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}
double now_seconds() { return clock_seconds(CLOCK_MONOTONIC); }
double process_seconds() { return clock_seconds(CLOCK_PROCESS_CPUTIME_ID); }

void add_cost(BenchResult& sum, const Plan& plan, const Arch& arch, int64_t context) {
    for (const PlanStep& step : plan.steps) {
        const Roofline line = roofline(step.cost, arch, context);
        sum.bytes += line.bytes;
        sum.operations += line.operations;
    }
    sum.launches += static_cast<int64_t>(plan.steps.size());
}

// Bytes, operations and launches of one pass: of decoding in the middle of the tokens, of a prompt
// in each of its steps.
void add_costs(BenchResult& result, const LoadedModel& model) {
    const BenchCase& what = result.what;
    const Arch& arch = model.device().arch();
    if (what.decode) {
        add_cost(result, model.plan_for(kDecodeStep), arch, what.depth + what.tokens / 2);
        result.bytes *= what.tokens;
        result.operations *= what.tokens;
        ++result.launches;
        return;
    }
    std::map<int64_t, Plan> plans;
    for (int64_t at = 0; at < what.tokens; at += model.options().prefill_rows) {
        const auto rows = std::min<int64_t>(what.tokens - at, model.options().prefill_rows);
        if (!plans.contains(rows)) plans[rows] = model.plan_for({.rows = static_cast<int>(rows)});
        // Each row sees those before it in its own step: half of them on the average.
        add_cost(result, plans[rows], arch, what.depth + at + rows / 2);
    }
}

struct Pass {
    double seconds = 0, host_seconds = 0, process_share = 0;
};

// The budget is over.
struct Over {};

Pass run_once(Sequence& sequence, int64_t vocabulary, const BenchCase& what, const Budget& budget) {
    sequence.truncate(what.depth);
    sequence.append(std::span<const int32_t>());  // restores and computes what that takes
    // Threads that copied state on the way here spin for some milliseconds before they sleep.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const int64_t prompt = what.decode ? 1 : what.tokens;
    Pass pass;
    const double began = now_seconds(), process_began = process_seconds();
    const Generated got = sequence.generate(some_tokens(prompt, vocabulary),
                                            {.max_tokens = what.decode ? what.tokens + 1 : 1,
                                             .ignore_end = true,
                                             .cancelled = [&] { return budget.over(); }});
    if (got.stop != Stop::kLength) throw Over();
    pass.process_share = (process_seconds() - process_began) / (now_seconds() - began);
    pass.host_seconds = what.decode ? got.decode_host_seconds : got.prefill_host_seconds;
    pass.seconds = what.decode ? got.decode_seconds : got.prefill_seconds;
    return pass;
}

}  // namespace

std::string BenchCase::name() const {
    return fmt::format("{}{}{}", decode ? "tg" : "pp", tokens,
                       depth > 0 ? fmt::format(" @ d{}", depth) : "");
}

Spread spread_of(std::vector<double> values) {
    std::vector<double> samples = values;
    std::ranges::sort(values);
    const size_t middle = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {median, values.front(), values.back(), std::move(samples)};
}

double BenchResult::seconds() const {
    return tokens_per_second.median > 0
               ? static_cast<double>(what.tokens) / tokens_per_second.median
               : 0;
}
double BenchResult::gb_s() const {
    return seconds() > 0 ? static_cast<double>(bytes) / seconds() * 1e-9 : 0;
}
double BenchResult::tflops() const {
    return seconds() > 0 ? static_cast<double>(operations) / seconds() * 1e-12 : 0;
}

std::vector<BenchResult> measure_cases(const std::shared_ptr<ModelHost>& model,
                                       const std::vector<BenchCase>& cases, int repeats,
                                       const Budget& budget,
                                       const std::function<void(const BenchResult&)>& after) {
    double prompt_rate = 0;  // tokens a second, the least seen
    std::vector<BenchResult> results;
    int64_t filled = 0;
    Sequence sequence(model);
    for (const BenchCase& what : cases) {
        BenchResult& result = results.emplace_back(BenchResult{.what = what});
        const double tokens =
            static_cast<double>(what.depth - filled) +
            (what.decode ? 0.0 : static_cast<double>(what.tokens * (repeats + 1)));
        if (budget.over() || (prompt_rate > 0 && tokens / prompt_rate > budget.seconds_left())) {
            result.left_out = budget.over() ? "no time is left"
                                            : fmt::format("would take {:.0f} s at {:.0f} tok/s",
                                                          tokens / prompt_rate, prompt_rate);
            after(result);
            continue;
        }
        std::vector<double> rates, host, process;
        try {
            if (what.depth != filled) {
                sequence.truncate(filled);
                const Generated fill = sequence.generate(
                    some_tokens(what.depth - filled, model->info.vocabulary),
                    {.max_tokens = 0, .cancelled = [&] { return budget.over(); }});
                if (fill.stop == Stop::kCancelled) throw Over();
                const double rate = static_cast<double>(what.depth - filled) / fill.prefill_seconds;
                prompt_rate = prompt_rate > 0 ? std::min(prompt_rate, rate) : rate;
                filled = what.depth;
            }
            add_costs(result, *model->loaded);
            run_once(sequence, model->info.vocabulary, what,
                     budget);  // captures graphs, and warms up
            for (int i = 0; i < repeats; ++i) {
                const Pass pass = run_once(sequence, model->info.vocabulary, what, budget);
                rates.push_back(static_cast<double>(what.tokens) / pass.seconds);
                host.push_back(1e6 * pass.host_seconds / static_cast<double>(what.tokens));
                process.push_back(100 * pass.process_share);
            }
        } catch (const Over&) {
        }
        result.passes = static_cast<int>(rates.size());
        if (rates.empty()) {
            result.left_out = "no time is left";
            after(result);
            continue;
        }
        result.tokens_per_second = spread_of(rates);
        result.host_us = spread_of(host).median;
        result.process_percent = spread_of(process).median;
        if (!what.decode)
            prompt_rate = prompt_rate > 0 ? std::min(prompt_rate, result.tokens_per_second.median)
                                          : result.tokens_per_second.median;
        after(result);
    }
    return results;
}

std::vector<KernelTime> measure_kernels(ModelHost& model, bool prompt, int64_t depth,
                                        const DeviceRates& rates, const Budget& budget) {
    Stepper& stepper = *model.stepper;
    BoundPlan& bound = prompt ? stepper.prefill_plan() : stepper.decode_plan();
    const int rows = bound.plan().options.rows;
    // The last step of a prompt leaves its plan's inputs behind, to be run again.
    if (depth + rows > stepper.context()) depth = 0;
    const int64_t before = prompt ? depth / rows * rows + rows : std::max<int64_t>(depth, 1);
    if (before > stepper.context()) return {};
    const auto sequence = std::make_shared<SequenceState>();
    sequence->append(some_tokens(before, stepper.vocabulary()), SequenceState::Path::kPrompt);
    // A token is decoded behind the others: that leaves its plan's inputs.
    const int32_t last = sequence->tokens.back();
    if (!prompt) {
        sequence->cut(before - 1);
        sequence->append({&last, 1}, SequenceState::Path::kAnswer);
    }
    const std::vector<PlanStep>& steps = bound.plan().steps;
    const std::vector<NamedKernel> names = named_kernels(bound.plan());
    // In the order of the plan, so that each step finds the caches as they are in use.
    std::vector<std::vector<double>> us(steps.size());
    model.scheduler->run(
        [&](Engine& engine) {
            while (sequence->computed < sequence->size() && !budget.over())
                engine.compute(*sequence);
            constexpr int kSweeps = 7;
            for (int sweep = 0; sweep < kSweeps; ++sweep)
                for (size_t i = 0; i < steps.size() && !budget.over(); ++i)
                    us[i].push_back(1e3 *
                                    model.device->time_ms([&] { bound.launch(rows, i, i + 1); }));
        },
        sequence);
    model.scheduler->release(sequence);
    if (us.empty() || us.back().empty()) return {};
    const Arch& arch = model.device->arch();
    const double read_gb_s = rates.read_gb_s > 0 ? rates.read_gb_s : arch.bandwidth_gb_s;
    std::vector<KernelTime> times;
    for (size_t i = 0; i < steps.size(); ++i) {
        const std::string& name = names[static_cast<size_t>(steps[i].kernel)].name;
        auto found = std::ranges::find(times, name, &KernelTime::kernel);
        if (found == times.end())
            found = times.insert(
                times.end(),
                {.kernel = name, .first = steps[i].label, .predicted = rates.read_gb_s <= 0});
        const Roofline line = roofline(steps[i].cost, arch, prompt ? before - rows / 2 : depth);
        const double by_reads = static_cast<double>(line.bytes) / read_gb_s * 1e-3;
        const double by_products =
            !prompt || rates.matrix_tflops <= 0
                ? 0
                : static_cast<double>(line.operations) / rates.matrix_tflops * 1e-6;
        ++found->launches;
        found->us += spread_of(us[i]).median;
        found->bytes += line.bytes;
        found->operations += line.operations;
        found->floor_us += std::max(by_reads, by_products);
    }
    std::ranges::stable_sort(times, std::ranges::greater(), &KernelTime::us);
    return times;
}

}  // namespace hetune
