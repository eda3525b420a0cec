// The engine's knowledge of one sequence: a plain value with one owner, which touches no device.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hetune {

struct SequenceState {
    // Which kernels compute a token. The same tokens by another path give logits that differ by
    // rounding.
    enum class Path : uint8_t {
        kPrompt,      // steps of many rows, also where a single token is left
        kAnswer,      // one by one
        kEachLogits,  // steps of many rows that give the logits of each
        kEachHidden,  // and those that give the hidden states of each: LayerGraph::hidden_states
    };
    // Tokens that were appended together, or drawn: up to `end`, from the end of the stretch
    // before. A prompt's steps begin where its stretch begins, so that whatever is computed anew
    // is divided as before, and equal bit for bit.
    struct Stretch {
        int64_t end = 0;
        Path path = Path::kPrompt;
        bool operator==(const Stretch&) const = default;
    };

    std::vector<int32_t> tokens;     // the one drawn last is among them, and not computed
    std::vector<Stretch> stretches;  // of all tokens, in order
    int64_t computed = 0;            // tokens whose keys, values and states the slot holds, if any
    int slot = -1;                   // of the engine's memory; -1: none
    bool bad_logits = false;  // the last draw found that they are no numbers: Engine::check_draw()

    // The stretches of tokens of which each was made by a path: one for each run of one path.
    static std::vector<Stretch> stretches_of(std::span<const Path> made);

    int64_t size() const { return static_cast<int64_t>(tokens.size()); }
    // The stretch of the token at `position`, which is one of tokens.
    const Stretch& stretch_at(int64_t position) const;
    void append(std::span<const int32_t> more, Path path);
    void add_drawn(int32_t token);
    // The first tokens were made elsewhere, in these stretches. Steps of the others begin behind.
    void start_with(std::span<const Stretch> start);
    // A step of a prompt that goes on behind `count` tokens ends there.
    void divide(int64_t count);
    // `count` is at most size().
    void cut(int64_t count);
};

}  // namespace hetune
