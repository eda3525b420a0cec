// Slots of a step sorted by expert, in pieces that one group works on (moe/expert_groups.hip).
#pragma once

#include "linear/row_tile.h"

// A slot is row * (experts per token) + k. Slots order[first] .. order[last] go to `expert`, which
// is -1 where a step has fewer chunks than were launched.
struct ExpertChunk {
    int expert, first, last;
};

// The slots of a chunk of at most kTokens; places behind its end repeat the last one.
template <int kTokens>
struct ChunkSlots {
    int slot[kTokens];
    int count;

    DEVICE ChunkSlots(const ExpertChunk& chunk, const int* order)
        : count(chunk.last - chunk.first + 1) {
        UNROLL
        for (int t = 0; t < kTokens; ++t) slot[t] = order[imin(chunk.first + t, chunk.last)];
    }
    // Activations of which kSlotsPerRow slots share a row.
    template <bool kBlocks, int kSlotsPerRow>
    DEVICE GatheredActivations<kBlocks, kTokens> of(const void* x) const {
        GatheredActivations<kBlocks, kTokens> rows;
        rows.data = x;
        rows.tokens = count;
        UNROLL
        for (int t = 0; t < kTokens; ++t) rows.rows[t] = slot[t] / kSlotsPerRow;
        return rows;
    }
};
