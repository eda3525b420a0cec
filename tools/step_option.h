// --rows of commands that look at one kind of step.
#pragma once

#include <fmt/format.h>

#include <string>

#include "runtime/load/model_plans.h"
#include "tools/options.h"

namespace hetune {

// The decode step of so many sequences. Throws UsageError where there is none, which names the
// option that asks for steps of prompts instead.
inline StepKind decode_step_option(int rows, const std::string& of_prompts) {
    if (const auto kind = decode_step(rows)) return *kind;
    throw UsageError(
        fmt::format("--rows {}: steps that decode have 1, 2, 4, 8, 16, 32 or {} rows, one of each "
                    "sequence; for a prompt's step of {} tokens add {}",
                    rows, kMostSequences, rows, of_prompts));
}

}  // namespace hetune
