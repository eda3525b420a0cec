// The rows of a decode step by expert: rows that use the same expert share the reads of its
// weights, kTokens of them at a time. There is a group for each row and each of its experts; a
// group finds by itself which rows it has, so that no launch has to sort them first.
#pragma once

#include "prelude/prelude.h"

template <int kTokens>
struct ExpertRows {
    int rows[kTokens];   // in order; those behind the last one repeat it
    int slots[kTokens];  // which of a row's experts it is
    int count;           // 0: another group has these rows
};

// values[at], by comparisons: an index that is no constant would put the values in memory.
template <int kTokens>
DEVICE inline int pick(const int (&values)[kTokens], int at) {
    int value = values[0];
    UNROLL
    for (int t = 1; t < kTokens; ++t)
        if (t == at) value = values[t];
    return value;
}

// The place of an expert among those that a row uses; -1: the row does not use it.
template <int kUsed>
DEVICE inline int slot_of_expert(const int* ids, int row, int expert) {
    int slot = -1;
    UNROLL
    for (int k = 0; k < kUsed; ++k)
        if (ids[row * kUsed + k] == expert) slot = k;
    return slot;
}

// expert_rows() gives the rows of the group of `row` and its expert number `slot`. The rows of a
// step that use this expert are taken kTokens at a time, by the group of the first of them.
template <int kUsed, int kTokens>
DEVICE inline ExpertRows<kTokens> expert_rows(const int* ids, int rows, int row, int slot) {
    ExpertRows<kTokens> own;
    own.rows[0] = row;
    own.slots[0] = slot;
    own.count = 1;
    if constexpr (kTokens == 1) return own;
    own.count = 0;
    const int expert = ids[row * kUsed + slot];
    int before = 0;  // rows before this one that use the expert
    for (int base = 0; base < rows && own.count < kTokens; base += kWaveSize) {
        int found = -1;  // the slot of the lane's row; a CPU's lanes look at all rows themselves
        u32 users = 0;
        if constexpr (kLanesInTurn) {
            for (int lane = 0; lane < kWaveSize && base + lane < rows; ++lane)
                if (slot_of_expert<kUsed>(ids, base + lane, expert) >= 0) users |= 1u << lane;
        } else {
            const int at = base + lane_id();
            if (at < rows) found = slot_of_expert<kUsed>(ids, at, expert);
            users = ballot(found >= 0);
        }
        if (row >= base) {
            const u32 earlier =
                row - base < kWaveSize ? users & ((1u << (row - base)) - 1u) : users;
            before += bit_count(earlier);
            users ^= earlier;
            if (row - base >= kWaveSize) continue;
            if (before % kTokens != 0) return own;
        }
        UNROLL
        for (int t = 0; t < kTokens; ++t) {
            if (t < own.count || users == 0) continue;
            const int lane = lowest_bit(users);
            own.rows[t] = base + lane;
            if constexpr (kLanesInTurn)
                own.slots[t] = slot_of_expert<kUsed>(ids, base + lane, expert);
            else
                own.slots[t] = shuffle(found, lane);
            own.count = t + 1;
            users &= users - 1;
        }
    }
    UNROLL
    for (int t = 1; t < kTokens; ++t) {
        if (t < own.count) continue;
        own.rows[t] = own.rows[t - 1];
        own.slots[t] = own.slots[t - 1];
    }
    return own;
}

// expert_rows() for an expert that all rows use, as number `slot` of each.
template <int kTokens>
DEVICE inline ExpertRows<kTokens> rows_of_all(int rows, int row, int slot) {
    ExpertRows<kTokens> own;
    own.count = row % kTokens == 0 ? imin(kTokens, rows - row) : 0;
    UNROLL
    for (int t = 0; t < kTokens; ++t) {
        own.rows[t] = imin(row + t, rows - 1);
        own.slots[t] = slot;
    }
    return own;
}

// Calls run.template operator()<kCount>() with the least power of two of tokens that there is room
// for in kTokens and that `count` fits into: a row alone costs no more than it does in a step of
// its own.
template <int kTokens, class Run>
DEVICE inline void for_count(int count, const Run& run) {
    if constexpr (kTokens > 1) {
        if (count <= kTokens / 2) return for_count<kTokens / 2>(count, run);
    }
    run.template operator()<kTokens>();
}
