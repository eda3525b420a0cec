// The step's changing facts, in device memory: a captured graph reads them anew each time. The host
// reads this header, too.
#pragma once

#include "prelude/types.h"

// A row of a step is one token of one sequence. Rows of one sequence stand together, in order, and
// begin at a multiple of the plan's row alignment. Filling rows, those between `end` and the next
// sequence's `begin`, are copies of the row before them; they leave nothing in memory that outlives
// the step.
struct RowState {
    i32 position;    // of the token in its sequence; kEnded: nothing of this row is kept
    i32 slot;        // where the sequence has its pages and its recurrent state
    i32 begin, end;  // the rows of the sequence in this step
};
constexpr i32 kEnded = -1;

// RowState [rows of the plan] follows.
struct StepState {
    i32 rows;          // rows that count, at most those of the plan
    i32 page_stride;   // entries of a slot in the table of pages
    i32 state_stride;  // floats of a slot's recurrent state
    i32 wanted;        // the row whose output is wanted, in a plan that gives one row's
};
