#include "runtime/load/step_state.h"

#include <cassert>
#include <cstddef>

#include "planner/plan/device_sizes.h"

namespace hetune {
namespace {

namespace device {
#include "kernel_templates/elementwise/step_rows.h"
}  // namespace device

static_assert(sizeof(device::StepState) == step_bytes(0));
static_assert(sizeof(device::RowState) == step_bytes(1) - step_bytes(0));
static_assert(sizeof(device::RowState) == sizeof(StepRow));

}  // namespace

std::vector<int32_t> step_state(std::span<const StepRow> rows, const SlotStrides& strides) {
    std::vector<int32_t> words = {static_cast<int32_t>(rows.size()),
                                  static_cast<int32_t>(strides.pages),
                                  static_cast<int32_t>(strides.state), 0};
    for (const StepRow& row : rows) words.insert(words.end(), {row.position, row.slot});
    return words;
}

}  // namespace hetune
