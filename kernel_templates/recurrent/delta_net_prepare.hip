// What delta_net_chunk needs of each chunk that does not depend on the state (delta_chunk.h).
// Launch: [kValueHeads, chunks].
// LDS: keys and queries (whose place values take later), A and T of the chunk.
#include "elementwise/step_state.h"
#include "recurrent/delta_chunk.h"

#ifndef HETUNE_SPEC
constexpr int kKeyHeads = 16;
constexpr int kValueHeads = 32;
constexpr int kKeySize = 128;
constexpr int kValueSize = 128;
constexpr float kEps = 1e-6f;
constexpr int kChunk = 32;
constexpr int kWaves = 4;
#endif

using Chunk = DeltaChunk<kChunk, kKeySize, kValueSize>;
constexpr int kPitch = kKeySize + 1;  // a lane for each row meets another bank
constexpr int kTokens = kChunk / kWaves;
constexpr int kQueryFloats = kChunk * kPitch;
constexpr int kValueFloats = kWaves * kChunk * kWaveSize;
constexpr int kSharedFloats = kQueryFloats > kValueFloats ? kQueryFloats : kValueFloats;
static_assert(kChunk == 16 || kChunk == 32, "a lane owns a column of A");
static_assert(kChunk % kWaves == 0 && kKeySize % 4 == 0 && kValueHeads % kKeyHeads == 0);
static_assert((kChunk * kPitch + kSharedFloats + 2 * kChunk * kChunk + 2 * kChunk) * 4 <= 65536);

extern "C" KERNEL(kWaves* kWaveSize) void delta_net_prepare(
    const StepState* __restrict__ step,
    const float* __restrict__ qkv,      // [rows, q heads | k heads | v heads]
    const float* __restrict__ a,        // [rows, kValueHeads]
    const float* __restrict__ b,        // [rows, kValueHeads]
    const float* __restrict__ ssm_a,    // [kValueHeads]
    const float* __restrict__ dt_bias,  // [kValueHeads]
    float* __restrict__ chunks) {       // [chunks, kValueHeads, Chunk::kFloats]
    constexpr int kKeys = kKeyHeads * kKeySize;
    constexpr int kChannels = 2 * kKeys + kValueHeads * kValueSize;
    SHARED float keys[kChunk * kPitch];
    SHARED float shared[kSharedFloats];       // queries, then values
    SHARED float overlap[kChunk * kChunk];    // A, then T diag(e^G)
    SHARED float transform[kChunk * kChunk];  // T
    SHARED float log_decay[kChunk];           // G, as sums
    SHARED float rate[kChunk];                // beta
    const int head = group_id();
    const int first = group_id_y() * kChunk;
    const int rows = step->rows;
    if (first >= rows) return;
    const int lane = lane_id();
    const int wave = kWaves == 1 ? 0 : wave_id();
    float* out = chunks + (i64(group_id_y()) * kValueHeads + head) * Chunk::kFloats;

    const int token = imin(lane, kChunk - 1);
    const i64 at = i64(imin(first + token, rows - 1)) * kValueHeads + head;
    const int end = rows_of(step)[first].end;  // a chunk is of one sequence
    const bool is_row = first + token < end;
    const float g = is_row ? ssm_a[head] * softplus(a[at] + dt_bias[head]) : 0.0f;
    float sum = g;  // each wave has all tokens, so that this needs no barrier
    UNROLL
    for (int width = 1; width < kChunk; width *= 2) {
        const float before = shuffle(sum, imax(lane - width, 0));
        sum = settled(lane >= width ? sum + before : sum);
    }
    const float last_decay = shuffle(sum, kChunk - 1);
    if (wave == 0 && lane < kChunk) {
        log_decay[lane] = sum;
        rate[lane] = is_row ? sigmoid(b[at]) : 0.0f;
        if (lane == 0) out[Chunk::kDecay] = fast_exp(last_decay);
    }

    for (int t = wave; t < kChunk; t += kWaves) {
        const float* q =
            qkv + i64(imin(first + t, rows - 1)) * kChannels + head % kKeyHeads * kKeySize;
        const float* k = q + kKeys;
        float qq = 0.0f, kk = 0.0f;
        for (int base = 0; base < kKeySize; base += kWaveSize) {
            const int d = imin(base + lane, kKeySize - 1);
            const bool counts = base + lane < kKeySize;
            qq = fused_mul_add(counts ? q[d] : 0.0f, q[d], qq);
            kk = fused_mul_add(counts ? k[d] : 0.0f, k[d], kk);
        }
        const bool has_row = first + t < end;
        kk = wave_sum(kk), qq = wave_sum(qq);
        const float k_scale = has_row ? fast_rsqrt(fmax2(kk, kEps * kEps)) : 0.0f;
        const float q_scale = has_row ? fast_rsqrt(fmax2(qq, kEps * kEps) * kKeySize) : 0.0f;
        const float decay = shuffle(sum, t);
        const float from_start = fast_exp(decay), to_end = fast_exp(last_decay - decay);
        for (int base = 0; base < kKeySize; base += kWaveSize) {
            const int d = imin(base + lane, kKeySize - 1);  // the last one several times, alike
            const float qn = q[d] * q_scale, kn = k[d] * k_scale;
            shared[t * kPitch + d] = qn;
            keys[t * kPitch + d] = kn;
            out[Chunk::kQ + t * kKeySize + d] = qn * from_start;
            out[Chunk::kK + t * kKeySize + d] = kn * to_end;
        }
    }
    barrier();

    {
        const int t0 = wave * kTokens;
        float kk[kTokens], qk[kTokens];
        UNROLL
        for (int t = 0; t < kTokens; ++t) kk[t] = qk[t] = 0.0f;
        multiply_add<kTokens, kKeySize, kPitch, 1, 1>(kk, keys + t0 * kPitch,
                                                      keys + token * kPitch);
        multiply_add<kTokens, kKeySize, kPitch, 1, 1>(qk, shared + t0 * kPitch,
                                                      keys + token * kPitch);
        UNROLL
        for (int t = 0; t < kTokens; ++t) {
            const int row = t0 + t;
            const float decay = fast_exp(fmin2(log_decay[row] - log_decay[token], 0.0f));
            overlap[row * kChunk + token] = token < row ? rate[row] * decay * kk[t] : 0.0f;
            out[Chunk::kM + row * kChunk + token] = token <= row ? decay * qk[t] : 0.0f;
        }
    }
    barrier();

    // (I + A)^-1 by forward substitution: a column of it needs only itself.
    if (wave == 0) {
        for (int t = 0; t < kChunk; ++t) {
            float value = t == token ? 1.0f : 0.0f;
            for (int i = 0; i < t; ++i)
                value =
                    fused_mul_add(-overlap[t * kChunk + i], transform[i * kChunk + token], value);
            transform[t * kChunk + token] = value;
        }
        wave_barrier();
        const float beta = rate[token], decay = fast_exp(log_decay[token]);
        for (int t = 0; t < kChunk; ++t) {
            const float value = transform[t * kChunk + token] * beta;
            if (lane < kChunk) {
                transform[t * kChunk + lane] = value;
                overlap[t * kChunk + lane] = value * decay;
            }
        }
    }
    barrier();

    // W and U, 32 columns of one of them a wave.
    constexpr int kKeyTiles = (kKeySize + kWaveSize - 1) / kWaveSize;
    constexpr int kTiles = kKeyTiles + (kValueSize + kWaveSize - 1) / kWaveSize;
    float* values = shared + wave * kChunk * kWaveSize;
    for (int tile = wave; tile < kTiles; tile += kWaves) {
        float c[kChunk];
        UNROLL
        for (int t = 0; t < kChunk; ++t) c[t] = 0.0f;
        if (tile < kKeyTiles) {
            const int column = imin(tile * kWaveSize + lane, kKeySize - 1);
            multiply_add<kChunk, kChunk, kChunk, 1, kPitch>(c, overlap, keys + column);
            UNROLL
            for (int t = 0; t < kChunk; ++t) out[Chunk::kW + t * kKeySize + column] = c[t];
        } else {
            const int column = imin((tile - kKeyTiles) * kWaveSize + lane, kValueSize - 1);
            const float* v = qkv + 2 * kKeys + head * kValueSize + column;
            for (int t = 0; t < kChunk; ++t)  // all rows' offsets at once would spill
                values[t * kWaveSize + lane] =
                    v[i64(imin(first + pinned(t), rows - 1)) * kChannels];
            multiply_add<kChunk, kChunk, kChunk, 1, kWaveSize>(c, transform, values + lane);
            UNROLL
            for (int t = 0; t < kChunk; ++t) out[Chunk::kU + t * kValueSize + column] = c[t];
        }
    }
}
EXPORT_KERNEL(delta_net_prepare)
