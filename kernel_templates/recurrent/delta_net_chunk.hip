// The gated delta rule chunk by chunk (delta_chunk.h); delta_net is the same token by token.
// Launch: [kValueHeads, ceil(kValueSize / 32), chunks]. The groups of a sequence's first chunk have
// all of its chunks, the others none. A group has 32 columns of one head's state, in LDS from the
// first chunk to the last, and carries them over the chunks of the step. A lane owns a
// column, a wave some of the tokens and then some of the state's rows.
// LDS: the state's columns and D.
#include "elementwise/step_state.h"
#include "recurrent/delta_chunk.h"

#ifndef HETUNE_SPEC
constexpr int kValueHeads = 32;
constexpr int kKeySize = 128;
constexpr int kValueSize = 128;
constexpr int kChunk = 32;
constexpr int kWaves = 4;
#endif

using Chunk = DeltaChunk<kChunk, kKeySize, kValueSize>;
constexpr int kTokens = kChunk / kWaves;
constexpr int kRowsOfWave = kKeySize / kWaves;
static_assert(kChunk % kWaves == 0 && kKeySize % kWaves == 0 && kKeySize % 4 == 0);

extern "C" KERNEL(kWaves* kWaveSize) void delta_net_chunk(
    const StepState* __restrict__ step,
    const float* __restrict__ chunks,  // [chunks, kValueHeads, Chunk::kFloats]
    float* __restrict__ states,        // [slots]: [kValueHeads, kKeySize, kValueSize]
    float* __restrict__ y) {           // [rows, kValueHeads, kValueSize]
    SHARED float columns[kKeySize * kWaveSize];
    SHARED float d[kChunk * kWaveSize];
    const int head = group_id();
    const int lane = lane_id();
    const int wave = kWaves == 1 ? 0 : wave_id();
    const int column = group_id_y() * kWaveSize + lane;
    const int safe_column = imin(column, kValueSize - 1);
    const int first_row = wave * kRowsOfWave, first_token = wave * kTokens;
    const int begin = group_id_z() * kChunk;
    if (begin >= step->rows) return;
    const RowState own_rows = rows_of(step)[begin];
    if (own_rows.begin != begin) return;
    float* const state = states + i64(own_rows.slot) * step->state_stride;
    float* own = state + (i64(head) * kKeySize + first_row) * kValueSize + safe_column;
    for (int i = 0; i < kRowsOfWave; ++i)
        columns[(first_row + i) * kWaveSize + lane] = own[i * kValueSize];
    barrier();

    // Chunks of filling rows leave the state alone (delta_net_prepare).
    const auto has_chunk = [&](int first) {
        return first < step->rows && rows_of(step)[first].begin == begin;
    };
    const float* in = chunks + (i64(group_id_z()) * kValueHeads + head) * Chunk::kFloats;
    for (int first = begin; has_chunk(first);
         first += kChunk, in += i64(kValueHeads) * Chunk::kFloats) {
        float seen[kTokens], read[kTokens];
        UNROLL
        for (int t = 0; t < kTokens; ++t) seen[t] = read[t] = 0.0f;
        multiply_add<kTokens, kKeySize, kKeySize, 1, kWaveSize>(
            seen, in + Chunk::kW + first_token * kKeySize, columns + lane);
        multiply_add<kTokens, kKeySize, kKeySize, 1, kWaveSize>(
            read, in + Chunk::kQ + first_token * kKeySize, columns + lane);
        UNROLL
        for (int t = 0; t < kTokens; ++t)
            d[(first_token + t) * kWaveSize + lane] =
                in[Chunk::kU + (first_token + t) * kValueSize + safe_column] - seen[t];
        barrier();
        multiply_add<kTokens, kChunk, kChunk, 1, kWaveSize>(
            read, in + Chunk::kM + first_token * kChunk, d + lane);
        UNROLL
        for (int t = 0; t < kTokens; ++t) {
            const int row = first + first_token + t;
            if (row < step->rows && column < kValueSize)
                y[(i64(row) * kValueHeads + head) * kValueSize + column] = read[t];
        }
        const float decay = in[Chunk::kDecay];
        float s[kRowsOfWave];
        UNROLL
        for (int i = 0; i < kRowsOfWave; ++i)
            s[i] = decay * columns[(first_row + i) * kWaveSize + lane];
        multiply_add<kRowsOfWave, kChunk, 1, kKeySize, kWaveSize>(s, in + Chunk::kK + first_row,
                                                                  d + lane);
        UNROLL
        for (int i = 0; i < kRowsOfWave; ++i) columns[(first_row + i) * kWaveSize + lane] = s[i];
        barrier();
    }
    if (column >= kValueSize) return;
    for (int i = 0; i < kRowsOfWave; ++i)
        own[i * kValueSize] = columns[(first_row + i) * kWaveSize + lane];
}
EXPORT_KERNEL(delta_net_chunk)
