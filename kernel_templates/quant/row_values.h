// What a lane holds of 32 consecutive rows or columns, one for each lane of a wave. Where the lanes
// run one after another (kLanesInTurn) the first one holds and computes all 32, in vectors, and the
// others do nothing: nothing is exchanged.
#pragma once

#include "quant/tile.h"

constexpr int kLaneRows = kLanesInTurn ? kTileRows : 1;

struct RowValues {
    float v[kLaneRows];
};
DEVICE inline int lane_row(int i) { return kLanesInTurn ? i : lane_id(); }
// Likewise a loop over any count of elements: from lane_start() on in steps of kLaneStride.
constexpr int kLaneStride = kLanesInTurn ? 1 : kWaveSize;
DEVICE inline int lane_start() { return kLanesInTurn ? 0 : lane_id(); }
DEVICE inline bool is_idle_lane() { return kLanesInTurn && lane_id() != 0; }

// The sum over all 32, in every lane that is not idle: the tree of additions of wave_sum().
DEVICE inline float sum_of_rows(const RowValues& values) {
    if constexpr (!kLanesInTurn) return wave_sum(values.v[0]);
    float tree[kLaneRows];
    UNROLL
    for (int i = 0; i < kLaneRows; ++i) tree[i] = values.v[i];
    UNROLL
    for (int width = kLaneRows / 2; width > 0; width /= 2) UNROLL
    for (int i = 0; i < width; ++i) tree[i] = tree[2 * i] + tree[2 * i + 1];
    return tree[0];
}
