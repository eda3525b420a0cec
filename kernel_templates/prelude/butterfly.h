// Wave reductions from lane exchanges, for targets that have them.
#pragma once

constexpr bool kLanesInTurn = false;

// All lanes' values; for code that runs where kLanesInTurn.
template <class T>
DEVICE inline void wave_gather(T v, T (&all)[32]) {
    UNROLL
    for (int lane = 0; lane < 32; ++lane) all[lane] = shuffle(v, lane);
}
// op over each run of kLanes (32 or 16) lanes; every lane gets the result.
template <int kLanes, class T, class Op>
DEVICE inline T wave_fold(T v, Op op) {
    v = op(v, shuffle_xor<1>(v));
    v = op(v, shuffle_xor<2>(v));
    v = op(v, shuffle_xor<4>(v));
    v = op(v, shuffle_xor<8>(v));
    if constexpr (kLanes == 32) v = op(v, shuffle_xor<16>(v));
    return v;
}
