// How the next token is drawn, and what was drawn; in device memory, so that the host need not take
// part in decoding. Also read by the host.
#pragma once

#include "prelude/types.h"

constexpr int kHistory = 1024;  // tokens remembered for the repetition penalty
constexpr int kEnds = 16;
constexpr int kTokenRing = 64;  // draws that the host may be behind
// In the ring instead of a token: a logit is NaN or infinite. Nothing is drawn behind it.
constexpr int kNoToken = -1;

struct SamplerState {
    float temperature;     // 0: the most likely token
    float top_p;           // keep the most likely tokens until they hold this mass; 1: all
    float min_p;           // keep tokens at least this likely, next to the most likely one; 0: all
    float repeat_penalty;  // divides logits of repeated tokens (multiplies negative ones); 1: none
    i32 top_k;             // keep this many; 0: all
    i32 window;            // how many tokens back a repetition counts, at most kHistory
    i32 vocabulary;        // only tokens below this id are drawn; logits behind it are padding
    u32 seed;
    i32 count;  // tokens in the history so far; the newest is history[(count - 1) % kHistory]
    i32 left;   // draws until the device stops by itself: StepState.rows becomes 0, and with
                // that every launch behind it does nothing
    i32 end_count;
    i32 ends[kEnds];  // tokens after which it stops, too
    i32 history[kHistory];
};
