// What changes from step to step, in device memory: a captured graph reads it anew each time.
#pragma once

#include "prelude/types.h"

struct StepState {
    i32 position;  // of the first row of this step
    i32 rows;      // rows that count, at most what the plan was made for
};
