// Two values in, one out.
#pragma once

#include "prelude/prelude.h"

struct Add {
    DEVICE static float apply(float a, float b) { return a + b; }
};
struct SiluMul {
    DEVICE static float apply(float a, float b) { return silu(a) * b; }
};
struct SigmoidMul {
    DEVICE static float apply(float a, float b) { return a * sigmoid(b); }
};
