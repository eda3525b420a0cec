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
double thread_seconds() { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

void add_cost(BenchResult& sum, const Plan& plan, const Arch& arch, int64_t context) {
    for (const PlanStep& step : plan.steps) {
        const Roofline line = roofline(step.cost, arch, context);
        sum.bytes += line.bytes;
        sum.operations += line.operations;
    }
    sum.launches += static_cast<int64_t>(plan.steps.size());
}

// Costs of one pass: of decoding in the middle of the tokens, of a prompt in each of its steps.
void add_costs(BenchResult& result, const Session& session) {
    const BenchCase& what = result.what;
    const Arch& arch = session.device().arch();
    if (what.decode) {
        add_cost(result, session.plan_for(1, false), arch, what.depth + what.tokens / 2);
        result.bytes *= what.tokens;
        result.operations *= what.tokens;
        ++result.launches;
        return;
    }
    std::map<int64_t, Plan> plans;
    for (int64_t at = 0; at < what.tokens; at += session.options().prefill_rows) {
        const auto rows = std::min<int64_t>(what.tokens - at, session.options().prefill_rows);
        if (!plans.contains(rows)) plans[rows] = session.plan_for(static_cast<int>(rows), false);
        // Each row sees those before it in its own step: half of them on the average.
        add_cost(result, plans[rows], arch, what.depth + at + rows / 2);
    }
}

struct Pass {
    double seconds = 0, host_seconds = 0, process_seconds = 0;
};

// Throws Cancelled when the budget is over before the end.
Pass run_once(Session& session, const BenchCase& what, const Session::Place& start,
              const Budget& budget) {
    const auto over = [&] { return budget.over(); };
    session.go_back(start);
    if (what.decode)
        session.prompt(some_tokens(1, session.vocabulary()), {},
                       {.draws = what.tokens + 1, .cancelled = over});
    const std::vector<int32_t> prompt = some_tokens(what.tokens, session.vocabulary());
    session.device().synchronize();
    // Threads that copied state on the way here spin for some milliseconds before they sleep.
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Pass pass;
    const double began = now_seconds(), process_began = process_seconds(),
                 thread_began = thread_seconds();
    double waited = 0;
    if (what.decode) {
        for (int64_t i = 0; i < what.tokens; ++i) {
            if (over()) throw Cancelled();
            session.launch_ahead();
            if (!session.draw_is_done()) {  // as the clock costs a microsecond
                const double wait_began = thread_seconds();
                session.wait_for_draw();
                waited += thread_seconds() - wait_began;
            }
            session.take_draw();
        }
    } else {
        session.prompt(prompt, {}, {.draws = 0, .cancelled = over});
    }
    pass.host_seconds = thread_seconds() - thread_began - waited;
    pass.process_seconds = process_seconds() - process_began;
    pass.seconds = now_seconds() - began;
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

std::vector<BenchResult> measure_cases(Session& session, const std::vector<BenchCase>& cases,
                                       int repeats, const Budget& budget,
                                       const std::function<void(const BenchResult&)>& after) {
    double prompt_rate = 0;  // tokens a second, the least seen
    std::vector<BenchResult> results;
    int64_t filled = 0;
    session.reset();
    Session::Place start = session.place();
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
                session.go_back(start);
                const double fill_began = now_seconds();
                session.prompt(some_tokens(what.depth - filled, session.vocabulary()), {},
                               {.draws = 0, .cancelled = [&] { return budget.over(); }});
                const double rate =
                    static_cast<double>(what.depth - filled) / (now_seconds() - fill_began);
                prompt_rate = prompt_rate > 0 ? std::min(prompt_rate, rate) : rate;
                start = session.place();
                filled = what.depth;
            }
            add_costs(result, session);
            run_once(session, what, start, budget);  // captures graphs, and warms up
            for (int i = 0; i < repeats; ++i) {
                const Pass pass = run_once(session, what, start, budget);
                rates.push_back(static_cast<double>(what.tokens) / pass.seconds);
                host.push_back(1e6 * pass.host_seconds / static_cast<double>(what.tokens));
                process.push_back(100 * pass.process_seconds / pass.seconds);
            }
        } catch (const Cancelled&) {
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
    session.reset();
    return results;
}

std::vector<KernelTime> measure_kernels(Session& session, bool prompt, int64_t depth,
                                        const DeviceRates& rates, const Budget& budget) {
    BoundPlan& bound = prompt ? session.prefill_plan() : session.decode_plan();
    const int rows = bound.plan().options.rows;
    // The last step of a prompt leaves its plan's inputs behind, to be run again.
    if (depth + rows > session.context()) depth = 0;
    const int64_t before = prompt ? depth / rows * rows + rows : std::max<int64_t>(depth, 1);
    if (before > session.context()) return {};
    session.reset();
    const auto over = [&] { return budget.over(); };
    try {
        session.prompt(some_tokens(before, session.vocabulary()), {},
                       {.draws = 0, .cancelled = over});
    } catch (const Cancelled&) {
        return {};
    }
    const std::vector<PlanStep>& steps = bound.plan().steps;
    const std::vector<NamedKernel> names = named_kernels(bound.plan());
    // In the order of the plan, so that each step finds the caches as they are in use.
    std::vector<std::vector<double>> us(steps.size());
    constexpr int kSweeps = 7;
    for (int sweep = 0; sweep < kSweeps; ++sweep)
        for (size_t i = 0; i < steps.size() && !over(); ++i)
            us[i].push_back(1e3 * session.device().time_ms([&] { bound.launch(rows, i, i + 1); }));
    session.reset();
    if (us.empty() || us.back().empty()) return {};
    const Arch& arch = session.device().arch();
    const double read_gb_s = rates.read_gb_s > 0 ? rates.read_gb_s : arch.bandwidth_gb_s;
    std::vector<KernelTime> times;
    for (size_t i = 0; i < steps.size(); ++i) {
        const auto named = std::ranges::find(names, steps[i].spec, &NamedKernel::spec);
        auto found = std::ranges::find(times, named->name, &KernelTime::kernel);
        if (found == times.end())
            found = times.insert(times.end(), {.kernel = named->name,
                                               .first = steps[i].label,
                                               .predicted = rates.read_gb_s <= 0});
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
