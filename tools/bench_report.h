// The results of `hetune bench` as text, Markdown, CSV or JSON.
#pragma once

#include <string>
#include <vector>

#include "runtime/api/hetune.h"
#include "tools/bench_cases.h"

namespace hetune {

struct BenchReport {
    ModelInfo model;
    std::string driver;
    std::string quant;  // of most of the file's bytes: "Q4_K"
    std::string kv, activations;
    int repeats = 0;
    DeviceRates rates;
    int64_t device_bytes = 0;     // weights, KV cache, activations and code
    int64_t host_peak_bytes = 0;  // of this process
    std::vector<BenchResult> results;
    std::vector<KernelTime> kernels, prompt_kernels;  // of a token, of a step of a prompt
    std::string command;                              // as it was called
};

struct BenchFormat {
    std::string name;    // "text", "markdown", "csv", "json"
    std::string suffix;  // of files
    std::string (*write)(const BenchReport& report);
};
const std::vector<BenchFormat>& bench_formats();

// The command line of this process.
std::string command_line();

}  // namespace hetune
