// NaN and infinity: where they begin, and what helps. Nothing here is called while all goes well,
// except all_finite() and check_weights().
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "planner/file/model_file.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/model_plans.h"

namespace hetune {

bool all_finite(std::span<const float> values);

// Throws ModelError that names the tensor and the first of its rows [first, last) which holds a
// scale or weight that is NaN or infinite.
void check_weights(const ModelFile& file, const Tensor& tensor, int64_t first, int64_t last);

// The first value of the layer graph that is NaN or infinite.
struct BadNumber {
    std::string value;     // "blk.0.attn_out"
    std::string kernel;    // that left it; empty on the reference backend
    int64_t position = 0;  // in the context
    float number = 0;
};

// In [rows, width] of a value whose first row is that of position `first`.
std::optional<BadNumber> find_bad_number(std::span<const float> rows, int64_t width, int64_t first,
                                         const std::string& value);
// Among the values that step `step` of a plan has just left in memory.
std::optional<BadNumber> find_bad_number(Device& device, const BoundPlan& plan, size_t step,
                                         int rows, int64_t first);

// The text of a NumberError behind `tokens` tokens. Looks for damaged weights first. `options` are
// those of the load; none on the reference backend.
std::string number_error_text(const ModelFile& file, const std::optional<LoadOptions>& options,
                              const std::optional<BadNumber>& first, int64_t tokens);

}  // namespace hetune
