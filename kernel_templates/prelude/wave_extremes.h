// The largest and the least of a wave, for targets without an instruction for it.
#pragma once

DEVICE inline float wave_max(float v) {
    return wave_fold<32>(v, [](float a, float b) { return a > b ? a : b; });
}
DEVICE inline int wave_min(int v) {
    return wave_fold<32>(v, [](int a, int b) { return a < b ? a : b; });
}
