#include "runtime/oracle/engine.h"

#include <fmt/format.h>

namespace hetune {

void check_fits(std::span<const int32_t> more, int64_t used, int64_t context, int64_t vocabulary) {
    if (used + std::ssize(more) > context) {
        const std::string in_use = used > 0 ? fmt::format(", of which {} are in use", used) : "";
        throw ContextError(fmt::format(
            "{} tokens do not fit into the context of {} tokens{}; a larger ModelOptions::context "
            "would hold them",
            more.size(), context, in_use));
    }
    for (const int32_t token : more)
        if (token < 0 || token >= vocabulary)
            throw std::runtime_error(
                fmt::format("token {} is outside the vocabulary of {}", token, vocabulary));
}

void throw_context_full(int64_t context) {
    throw ContextError(fmt::format(
        "the context of {} tokens is full; a larger ModelOptions::context holds more", context));
}

}  // namespace hetune
