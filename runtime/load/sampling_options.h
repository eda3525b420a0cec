// How tokens are drawn. Installed beside hetune.h, which includes this file.
#pragma once

#include <cstdint>

namespace hetune {

// How the next token is chosen. The order of the cuts: repetition penalty, top-k, top-p, min-p,
// temperature.
struct Sampling {
    double temperature = 0.0;     // 0: greedy
    int top_k = 40;               // 0: all
    double top_p = 0.95;          // 1: all
    double min_p = 0.05;          // 0: all
    double repeat_penalty = 1.0;  // 1: none
    int repeat_window = 64;       // tokens
    uint32_t seed = 0;

    bool operator==(const Sampling&) const = default;
};

}  // namespace hetune
