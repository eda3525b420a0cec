// What `hetune bench` measures: prompts and generations as llama-bench names them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/api/model_host.h"
#include "runtime/device/device_rates.h"
#include "tools/budget.h"

namespace hetune {

struct BenchCase {
    bool decode = false;
    int64_t tokens = 0;
    int64_t depth = 0;  // tokens of context before

    std::string name() const;  // "pp512", "tg128 @ d32768"
};

struct Spread {
    double median = 0, least = 0, most = 0;
    std::vector<double> samples = {};  // in the order of measuring
};
Spread spread_of(std::vector<double> values);

struct BenchResult {
    BenchCase what;
    Spread tokens_per_second;
    int64_t bytes = 0;  // of one pass over the case's plans, at its depth
    int64_t operations = 0;
    int64_t launches = 0;  // of one decoded token, with the draw; of all steps of a prompt
    // Medians: processor time of the model's thread for one token, waiting for draws not included;
    // and that of the whole process, of the time that passed.
    double host_us = 0;
    double process_percent = 0;
    int passes = 0;        // timed; fewer than were asked for where no time was left
    std::string left_out;  // why there are no figures

    double seconds() const;  // of one pass, median
    double gb_s() const;
    double tflops() const;
};

// Every case at one depth is measured from the same context, filled once by a real prompt.
// A case is left out when, by the rate of what was measured before, it would not end within the
// budget. Where the budget is over in the middle of a case, the passes that ended count. `after` is
// called behind each case.
std::vector<BenchResult> measure_cases(const std::shared_ptr<ModelHost>& model,
                                       const std::vector<BenchCase>& cases, int repeats,
                                       const Budget& budget,
                                       const std::function<void(const BenchResult&)>& after);

// Launches of one distinct kernel in a plan.
struct KernelTime {
    std::string kernel;  // "gemv_fan.0", as in `hetune plan`
    std::string first;   // label of the first step
    int launches = 0;
    double us = 0;           // all of them, each timed alone
    double floor_us = 0;     // by the memory's rate and that of the matrix units
    bool predicted = false;  // the memory's rate was not measured: it is that of the data sheet
    int64_t bytes = 0;
    int64_t operations = 0;
};
// Each step of the plan for a token, or for a step of a prompt, in order, timed alone behind
// `depth` tokens of context (behind none, where a step of the prompt would not fit); the costliest
// kernel first. Rates that were not measured are those on paper. Empty where the budget is over
// before all steps were timed.
std::vector<KernelTime> measure_kernels(ModelHost& model, bool prompt, int64_t depth,
                                        const DeviceRates& rates, const Budget& budget);

}  // namespace hetune
