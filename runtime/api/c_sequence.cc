// The sequences and results of hetune_c.h.
#include <fmt/format.h>

#include <utility>

#include "runtime/api/c_handles.h"

using hetune::guarded;
using hetune::need;
using hetune::text_argument;
using hetune::tokens_argument;

namespace {

// The body of hetune_sequence_generate() and its kin; `generate` calls the sequence.
template <class Generate>
hetune_status generate_with(hetune_sequence* sequence, const hetune_generate_options* options,
                            hetune_on_text on_text, void* user, hetune_result** result,
                            const Generate& generate) {
    return guarded([&] {
        need(sequence, "sequence");
        hetune::OnText to_caller;
        if (on_text != nullptr)
            to_caller = [&](std::string_view text) {
                return on_text(std::string(text).c_str(), text.size(), user) != 0;
            };
        hetune::Generated generated =
            generate(sequence->sequence,
                     options == nullptr ? hetune::GenerateOptions() : options->options.for_call(),
                     to_caller);
        if (result != nullptr) *result = new hetune_result(std::move(generated));
    });
}

}  // namespace

hetune_status hetune_sequence_open(const hetune_model* model, hetune_sequence** sequence) {
    return guarded([&] {
        need(sequence, "sequence");
        *sequence = new hetune_sequence{need(model, "model").model.open()};
    });
}

hetune_status hetune_sequence_fork(const hetune_sequence* sequence, hetune_sequence** fork) {
    return guarded([&] {
        need(fork, "fork");
        *fork = new hetune_sequence{need(sequence, "sequence").sequence.fork()};
    });
}

void hetune_sequence_free(hetune_sequence* sequence) { delete sequence; }

hetune_status hetune_sequence_append(hetune_sequence* sequence, const char* text, size_t bytes) {
    return guarded(
        [&] { need(sequence, "sequence").sequence.append(text_argument(text, bytes, "text")); });
}

hetune_status hetune_sequence_append_tokens(hetune_sequence* sequence, const int32_t* tokens,
                                            size_t count) {
    return guarded(
        [&] { need(sequence, "sequence").sequence.append(tokens_argument(tokens, count)); });
}

hetune_status hetune_sequence_generate(hetune_sequence* sequence, const char* prompt, size_t bytes,
                                       const hetune_generate_options* options,
                                       hetune_on_text on_text, void* user, hetune_result** result) {
    return generate_with(sequence, options, on_text, user, result,
                         [&](auto& text, const auto&... rest) {
                             return text.generate(text_argument(prompt, bytes, "prompt"), rest...);
                         });
}

hetune_status hetune_sequence_generate_tokens(hetune_sequence* sequence, const int32_t* prompt,
                                              size_t count, const hetune_generate_options* options,
                                              hetune_on_text on_text, void* user,
                                              hetune_result** result) {
    return generate_with(sequence, options, on_text, user, result,
                         [&](auto& text, const auto&... rest) {
                             return text.generate(tokens_argument(prompt, count), rest...);
                         });
}

hetune_status hetune_sequence_chat(hetune_sequence* sequence, const char* messages,
                                   const char* kwargs, const hetune_generate_options* options,
                                   hetune_on_text on_text, void* user, hetune_result** result) {
    return generate_with(sequence, options, on_text, user, result,
                         [&](auto& text, const auto& call_options, const auto& to_caller) {
                             return text.chat(hetune::messages_argument(messages), call_options,
                                              to_caller, hetune::optional_text(kwargs));
                         });
}

hetune_status hetune_sequence_logits(hetune_sequence* sequence, const int32_t* tokens, size_t count,
                                     int flags, float** logits, size_t* floats) {
    return guarded([&] {
        need(logits, "logits");
        need(floats, "floats");
        hetune::check_flags(flags, HETUNE_EVERY_POSITION | HETUNE_ONE_BY_ONE);
        hetune::give(need(sequence, "sequence")
                         .sequence.logits(tokens_argument(tokens, count),
                                          {.every_position = (flags & HETUNE_EVERY_POSITION) != 0,
                                           .one_by_one = (flags & HETUNE_ONE_BY_ONE) != 0}),
                     logits, floats);
    });
}

hetune_status hetune_sequence_truncate(hetune_sequence* sequence, int64_t count) {
    return guarded([&] { need(sequence, "sequence").sequence.truncate(count); });
}

hetune_status hetune_sequence_reset(hetune_sequence* sequence) {
    return guarded([&] { need(sequence, "sequence").sequence.reset(); });
}

hetune_status hetune_sequence_tokens(const hetune_sequence* sequence, const int32_t** tokens,
                                     size_t* count) {
    return guarded([&] {
        need(tokens, "tokens");
        need(count, "count");
        const std::span<const int32_t> held = need(sequence, "sequence").sequence.tokens();
        *tokens = held.data();
        *count = held.size();
    });
}

hetune_status hetune_sequence_room(const hetune_sequence* sequence, int64_t* tokens) {
    return guarded([&] { need(tokens, "tokens") = need(sequence, "sequence").sequence.room(); });
}

hetune_status hetune_sequence_cancel(hetune_sequence* sequence) {
    return guarded([&] { need(sequence, "sequence").sequence.cancel(); });
}

void hetune_result_free(hetune_result* result) { delete result; }

hetune_status hetune_result_text(const hetune_result* result, const char** text, size_t* bytes) {
    return guarded([&] {
        const std::string& written = need(result, "result").generated.text;
        need(text, "text") = written.c_str();
        if (bytes != nullptr) *bytes = written.size();
    });
}

hetune_status hetune_result_tokens(const hetune_result* result, const int32_t** tokens,
                                   size_t* count) {
    return guarded([&] {
        const std::vector<int32_t>& written = need(result, "result").generated.tokens;
        need(count, "count");
        need(tokens, "tokens") = written.data();
        *count = written.size();
    });
}

hetune_status hetune_result_logprobs(const hetune_result* result, const float** logprobs,
                                     size_t* count) {
    return guarded([&] {
        const std::vector<float>& of = need(result, "result").logprobs;
        need(count, "count");
        need(logprobs, "logprobs") = of.data();
        *count = of.size();
    });
}

hetune_status hetune_result_top_logprobs(const hetune_result* result, size_t index,
                                         const int32_t** tokens, const float** logprobs,
                                         size_t* count) {
    return guarded([&] {
        const auto& places = need(result, "result").top;
        need(tokens, "tokens");
        need(logprobs, "logprobs");
        need(count, "count");
        if (index >= places.size())
            throw hetune::RequestError(fmt::format(
                "the result has logprobs of {} tokens, and none of token {}; the option "
                "\"logprobs\" asks for them",
                places.size(), index));
        *tokens = places[index].tokens.data();
        *logprobs = places[index].logprobs.data();
        *count = places[index].tokens.size();
    });
}

hetune_status hetune_result_value(const hetune_result* result, const char* name,
                                  const char** value) {
    return guarded(
        [&] { need(value, "value") = need(result, "result").values.get(&need(name, "name")); });
}
