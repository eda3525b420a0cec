// The device's StepState and its rows (kernel_templates/elementwise/step_state.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hetune {

// The position of a row's token in its sequence, and the sequence's slot (ContextMemory).
struct StepRow {
    int32_t position = 0;
    int32_t slot = 0;
};

struct SlotStrides {
    int64_t pages = 0;  // entries of a slot in the table of pages
    int64_t state = 0;  // floats of a slot's recurrent state
};

// All rows count, and the output of the last one is wanted. Neighbours with one slot are of one
// sequence; a row at the position of the row before it fills, and so do those behind it.
std::vector<int32_t> step_state(std::span<const StepRow> rows, const SlotStrides& strides);

// A row of what step_state() gave, or of what a kernel made of it.
StepRow step_row(std::span<const int32_t> state, size_t row);

// The offset of StepState::wanted, in bytes.
size_t step_wanted_offset();

}  // namespace hetune
