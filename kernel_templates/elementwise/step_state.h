// The rows of a step.
#pragma once

#include "elementwise/step_rows.h"
#include "prelude/prelude.h"

DEVICE inline const RowState* rows_of(const StepState* step) {
    return reinterpret_cast<const RowState*>(step + 1);
}
DEVICE inline RowState* rows_of(StepState* step) { return reinterpret_cast<RowState*>(step + 1); }
