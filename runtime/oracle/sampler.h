// The sampler's oracle: sorts, cuts and draws in double, by the generator of
// kernel_templates/sampling/sample.hip. Kernels are compared with this one.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/load/sampling_options.h"

namespace hetune::reference {

struct Draw {
    int32_t token = 0;  // kNothingDrawn where a logit is NaN or infinite
    // How far the closest decision was from going the other way, as a share of what was compared:
    // of the probability mass for top-p and for the draw, of the logits for min-p. Where the margin
    // is below the rounding of a float another implementation may rightly draw another token.
    double margin = 1;
};

// One token from the logits of one row. The repetition penalty looks at the last
// Sampling::repeat_window tokens of `history`. `count` numbers the draws of one seed.
Draw draw(std::span<const float> logits, const Sampling& sampling, std::span<const int32_t> history,
          uint32_t count);

// Uniform in [0, 1): the counter-based generator, number `count` of this seed.
double uniform(uint32_t seed, uint32_t count);

}  // namespace hetune::reference
