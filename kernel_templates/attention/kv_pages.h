// The KV cache of a layer lies in pages, which sequences take as they grow: page p has the rows
// p * kPageTokens and behind in a cache [pages, kPageTokens, kRowElements]. The table [slots,
// StepState::page_stride] names the pages of each slot's positions. Page numbers and counts are
// data, so that one code object serves caches of any size.
#pragma once

#include "elementwise/step_state.h"

// A tile of keys (32 in attend_tile, kKeys of attention_flash) lies within a page.
constexpr int kPageTokens = 64;

DEVICE inline const i32* pages_of(const StepState* step, const i32* pages, int slot) {
    return pages + i64(slot) * step->page_stride;
}
// The row of the cache that has a position.
DEVICE inline i64 cache_row(int page, int position) {
    return i64(page) * kPageTokens + position % kPageTokens;
}
// The rows of a page are its positions plus this.
DEVICE inline i64 page_shift(int page, int position) {
    return i64(page - position / kPageTokens) * kPageTokens;
}
