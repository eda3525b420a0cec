// delta_net_chunk on the matrix units (delta_chunk.h has the formulas, split_bf16.h the numbers).
// Launch: [kValueHeads, ceil(kValueSize / 32), chunks]. The groups of a sequence's first chunk have
// all of its chunks, the others none. A group has 32 columns of one head's state, as sums in
// registers from the first chunk to the last, and in LDS as what the next product reads. Each of
// four waves makes a tile of 16 tokens x 16 columns, then its tiles of the state. LDS: the state's
// columns; W, Q and K in turn; M; D.
#include "elementwise/step_state.h"
#include "recurrent/delta_chunk.h"
#include "recurrent/split_bf16.h"

#ifndef HETUNE_SPEC
constexpr int kValueHeads = 32;
constexpr int kKeySize = 128;
constexpr int kValueSize = 128;
constexpr int kChunk = 32;
#endif

constexpr int kColumns = 32;
constexpr int kWaves = 4;
constexpr int kThreads = kWaves * kWaveSize;
constexpr int kStateTiles = kColumns / 16 * (kKeySize / 16) / kWaves;  // of a wave
using Chunk = DeltaChunk<kChunk, kKeySize, kValueSize>;
static_assert(kChunk == 32, "two tiles of tokens");
static_assert(kKeySize % 32 == 0, "waves have as many tiles of the state as each other");

// What is in use at one time: a factor by keys, or K by tokens.
union Factor {
    SplitMatrix<kChunk, kKeySize> by_key;    // W, then Q: [tokens, keys]
    SplitMatrix<kKeySize, kChunk> by_token;  // K: [keys, tokens]
};
struct Shared {
    SplitMatrix<kColumns, kKeySize> state;  // [columns, keys]
    Factor factor;
    SplitMatrix<kChunk, kChunk> m;    // [tokens, tokens]
    SplitMatrix<kColumns, kChunk> d;  // [columns, tokens]
};

template <int kCols>
DEVICE inline void put(SplitMatrix<kChunk, kCols>& to, const float* from) {
    for (int i = thread_id() * 2; i < kChunk * kCols; i += 2 * kThreads)
        to.set2(i / kCols, i % kCols, from[i], from[i + 1]);
}

extern "C" KERNEL_RESIDENT(kWaves* kWaveSize, 2) void delta_net_matrix(
    const StepState* __restrict__ step,
    const float* __restrict__ chunks,  // [chunks, kValueHeads, Chunk::kFloats]
    float* __restrict__ states,        // [slots]: [kValueHeads, kKeySize, kValueSize]
    float* __restrict__ y) {           // [rows, kValueHeads, kValueSize]
    SHARED Shared lds;
    const int head = group_id();
    const int wave = wave_id();
    const int first_column = group_id_y() * kColumns;
    const int begin = group_id_z() * kChunk;
    if (begin >= step->rows) return;
    const RowState own_rows = rows_of(step)[begin];
    if (own_rows.begin != begin) return;
    // The wave's tile of tokens x columns, and its tiles of the state, columns x keys.
    const int token_tile = wave / 2 * 16, column_tile = wave % 2 * 16,
              first_key = wave / 2 * (kStateTiles * 16);
    const auto column_of = [&](int col) { return imin(first_column + col, kValueSize - 1); };
    float* const state = states + i64(own_rows.slot) * step->state_stride;
    float* own = state + i64(head) * kKeySize * kValueSize;

    MatC sums[kStateTiles];
    UNROLL
    for (int tile = 0; tile < kStateTiles; ++tile) {
        mat_visit(sums[tile], [&](const MatPlace& at, float& value) {
            const int key = first_key + tile * 16 + at.col;
            value = own[key * kValueSize + column_of(column_tile + at.row)];
        });
    }

    // Chunks of filling rows leave the state alone (delta_net_prepare).
    const auto has_chunk = [&](int first) {
        return first < step->rows && rows_of(step)[first].begin == begin;
    };
    const float* in = chunks + (i64(group_id_z()) * kValueHeads + head) * Chunk::kFloats;
    for (int first = begin; has_chunk(first);
         first += kChunk, in += i64(kValueHeads) * Chunk::kFloats) {
        UNROLL
        for (int tile = 0; tile < kStateTiles; ++tile)
            mat_visit(sums[tile], [&](const MatPlace& at, float& value) {
                lds.state.set(column_tile + at.row, first_key + tile * 16 + at.col, value);
            });
        put(lds.factor.by_key, in + Chunk::kW);
        put(lds.m, in + Chunk::kM);
        barrier();

        MatC seen;
        mat_clear(seen);
        multiply_split(seen, lds.factor.by_key, token_tile, lds.state, column_tile);
        mat_visit(seen, [&](const MatPlace& at, float& value) {
            const int token = token_tile + at.row, col = column_tile + at.col;
            lds.d.set(col, token, in[Chunk::kU + token * kValueSize + column_of(col)] - value);
        });
        barrier();
        put(lds.factor.by_key, in + Chunk::kQ);
        barrier();

        MatC read;
        mat_clear(read);
        multiply_split(read, lds.factor.by_key, token_tile, lds.state, column_tile);
        multiply_split(read, lds.m, token_tile, lds.d, column_tile);
        mat_visit(read, [&](const MatPlace& at, float& value) {
            const int row = first + token_tile + at.row,
                      column = first_column + column_tile + at.col;
            if (row < step->rows && column < kValueSize)
                y[(i64(row) * kValueHeads + head) * kValueSize + column] = value;
        });
        barrier();
        for (int i = thread_id(); i < kChunk / 2 * kKeySize; i += kThreads) {
            const int token = i / kKeySize * 2, key = i % kKeySize;
            const float* k = in + Chunk::kK + token * kKeySize + key;
            lds.factor.by_token.set2(key, token, k[0], k[kKeySize]);
        }
        barrier();

        const float decay = in[Chunk::kDecay];
        UNROLL
        for (int tile = 0; tile < kStateTiles; ++tile) {
            mat_visit(sums[tile], [&](const MatPlace&, float& value) { value *= decay; });
            multiply_split(sums[tile], lds.d, column_tile, lds.factor.by_token,
                           first_key + tile * 16);
        }
        barrier();
    }
    UNROLL
    for (int tile = 0; tile < kStateTiles; ++tile)
        mat_visit(sums[tile], [&](const MatPlace& at, float& value) {
            const int column = first_column + column_tile + at.row;
            const int key = first_key + tile * 16 + at.col;
            if (column < kValueSize) own[key * kValueSize + column] = value;
        });
}
EXPORT_KERNEL(delta_net_matrix)
