// The step's changing facts, in device memory: a captured graph reads them anew each time. The host
// reads this header, too.
#pragma once

#include "prelude/types.h"

// A row of a step is one token of one sequence. Rows of one sequence stand together, in order.
struct RowState {
    i32 position;  // of the token in its sequence; kEnded: nothing of this row is kept
    i32 slot;      // where the sequence has its pages and its recurrent state
};
constexpr i32 kEnded = -1;

// RowState [rows of the plan] follows.
struct StepState {
    i32 rows;          // rows that count, at most those of the plan
    i32 page_stride;   // entries of a slot in the table of pages
    i32 state_stride;  // floats of a slot's recurrent state
    i32 unused;
};
