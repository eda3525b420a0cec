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

}  // namespace

std::vector<int32_t> step_state(std::span<const StepRow> rows, const SlotStrides& strides) {
    std::vector<int32_t> words = {
        static_cast<int32_t>(rows.size()), static_cast<int32_t>(strides.pages),
        static_cast<int32_t>(strides.state), static_cast<int32_t>(rows.size()) - 1};
    for (size_t begin = 0; begin < rows.size();) {
        const auto same_slot = [&](size_t row) {
            return row < rows.size() && rows[row].slot == rows[begin].slot;
        };
        size_t end = begin + 1;
        while (same_slot(end) && rows[end].position != rows[end - 1].position) ++end;
        size_t next = end;
        while (same_slot(next)) ++next;
        for (size_t row = begin; row < next; ++row)
            words.insert(words.end(), {rows[row].position, rows[row].slot,
                                       static_cast<int32_t>(begin), static_cast<int32_t>(end)});
        begin = next;
    }
    return words;
}

StepRow step_row(std::span<const int32_t> state, size_t row) {
    const size_t at =
        (sizeof(device::StepState) + row * sizeof(device::RowState)) / sizeof(int32_t);
    return {state[at], state[at + 1]};
}

size_t step_wanted_offset() { return offsetof(device::StepState, wanted); }

}  // namespace hetune
