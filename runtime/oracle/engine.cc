#include "runtime/oracle/engine.h"

#include <fmt/format.h>

namespace hetune {

void check_fits(std::span<const int32_t> more, int64_t used, int64_t context, int64_t vocabulary) {
    if (!more.empty() && used + std::ssize(more) > context) {
        const std::string in_use = used > 0 ? fmt::format(", of which {} are in use", used) : "";
        throw ContextError(fmt::format(
            "{} tokens do not fit into the context of {} tokens{}; a larger ModelOptions::context "
            "would hold them",
            more.size(), context, in_use));
    }
    for (const int32_t token : more)
        if (token < 0 || token >= vocabulary)
            throw RequestError(
                fmt::format("token {} is outside the vocabulary of {}", token, vocabulary));
}

void throw_context_full(int64_t context) {
    throw ContextError(fmt::format(
        "the context of {} tokens is full; a larger ModelOptions::context holds more", context));
}

std::span<const int32_t> draw_some(Engine& engine, SequenceState& sequence) {
    if (sequence.computed >= engine.context()) throw_context_full(engine.context());
    const auto before = static_cast<size_t>(sequence.size());
    SequenceState* const one = &sequence;
    while (static_cast<size_t>(sequence.size()) == before) {
        engine.draw({&one, 1});
        engine.check_draw(sequence);
    }
    return std::span(sequence.tokens).subspan(before);
}

void compute_all(Engine& engine, SequenceState& sequence) {
    while (sequence.computed < sequence.size()) engine.compute(sequence);
}

std::vector<float> append_for_output(Engine& engine, SequenceState& sequence,
                                     std::span<const int32_t> tokens, SequenceState::Path path) {
    check_fits(tokens, sequence.size(), engine.context(), engine.vocabulary());
    std::vector<float> logits;
    if (tokens.empty()) return logits;
    const int64_t before = sequence.size();
    sequence.append(tokens, path);
    while (sequence.computed < sequence.size()) {
        engine.compute(sequence);
        const bool wanted =
            path == SequenceState::Path::kEachLogits || path == SequenceState::Path::kEachHidden
                ? sequence.computed > before
                : sequence.computed == sequence.size();
        if (wanted) engine.read_output(sequence, logits);
    }
    return logits;
}

}  // namespace hetune
