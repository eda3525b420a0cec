// What `hetune bench` measures: prompts and generations as llama-bench names them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/device_rates.h"
#include "runtime/session.h"

namespace hetune {

struct BenchCase {
    bool decode = false;
    int64_t tokens = 0;
    int64_t depth = 0;  // tokens of context before

    std::string name() const;  // "pp512", "tg128 @ d32768"
};

struct Spread {
    double median = 0, least = 0, most = 0;
};
Spread spread_of(std::vector<double> values);

struct BenchResult {
    BenchCase what;
    Spread tokens_per_second;
    int64_t bytes = 0;         // of one pass over the case's plans, at its depth
    int64_t operations = 0;
    int64_t launches = 0;      // of one decoded token, with the draw; of all steps of a prompt
    double host_us = 0;        // processor time of this process for one token, median
    std::string left_out;      // why there are no figures

    double seconds() const;    // of one pass, median
    double gb_s() const;
    double tflops() const;
};

// Every case at one depth is measured from the same context, filled once by a real prompt.
// A case is left out when, by the rate of what was measured before, it would not end within
// `budget_seconds` (0: no limit) of the call. `after` is called behind each.
std::vector<BenchResult> measure_cases(Session& session, const std::vector<BenchCase>& cases,
                                       int repeats, double budget_seconds,
                                       const std::function<void(const BenchResult&)>& after);

// Launches of one distinct kernel in a decoded token.
struct KernelTime {
    std::string kernel;         // "gemv_fan.0", as in `hetune plan`
    std::string first;          // label of the first step
    int launches = 0;
    double us = 0;              // all of them, each timed alone
    double floor_us = 0;        // by the memory's rate
    int64_t bytes = 0;
};
// Each step of the decode plan, in order, timed alone; the costliest kernel first. `read_gb_s`: of
// the memory, 0: that on paper.
std::vector<KernelTime> measure_kernels(Session& session, int64_t depth, double read_gb_s);

}  // namespace hetune
