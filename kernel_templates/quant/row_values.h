// RowValues is a lane's part of 32 consecutive rows or columns: one of them. Where the lanes of a
// wave run one after another (kLanesInTurn), the first lane holds and computes all 32, in vectors.
// The other lanes are idle then, so that no lane waits for another.
#pragma once

#include "quant/tile.h"

constexpr int kLaneRows = kLanesInTurn ? kTileRows : 1;

struct RowValues {
    float v[kLaneRows];
};
DEVICE inline int lane_row(int i) { return kLanesInTurn ? i : lane_id(); }
// A loop over any count of elements goes from lane_start() in steps of kLaneStride.
constexpr int kLaneStride = kLanesInTurn ? 1 : kWaveSize;
DEVICE inline int lane_start() { return kLanesInTurn ? 0 : lane_id(); }
DEVICE inline bool is_idle_lane() { return kLanesInTurn && lane_id() != 0; }

// sum_of_rows() gives the sum of all 32 to every lane that is not idle, by wave_sum()'s tree of
// additions.
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
