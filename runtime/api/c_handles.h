// Inside of hetune_c.h: its handles, and what its functions do with arguments, results and
// exceptions. Not installed.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <map>
#include <new>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/api/hetune.h"
#include "runtime/api/hetune_c.h"
#include "runtime/api/option_names.h"

namespace hetune {

// Keeps the exception that is being handled for hetune_last_error() of this thread.
hetune_status keep_current_exception() noexcept;

// Runs the body of a function of hetune_c.h, whatever the body throws.
template <class Body>
hetune_status guarded(const Body& body) noexcept {
    try {
        body();
        return HETUNE_OK;
    } catch (...) {
        return keep_current_exception();
    }
}

[[noreturn]] void refuse_null(const char* argument);
// An argument that must be there.
template <class T>
T& need(T* pointer, const char* argument) {
    if (pointer == nullptr) refuse_null(argument);
    return *pointer;
}
std::string_view text_argument(const char* text, size_t bytes, const char* argument);
std::span<const int32_t> tokens_argument(const int32_t* tokens, size_t count);
std::string optional_text(const char* text);
// A conversation as JSON: [{"role": "user", "content": "Hello"}].
std::vector<Message> messages_argument(const char* messages);
void check_flags(int flags, int known);

// A copy that hetune_free() frees.
template <class T>
T* caller_owned(const T* values, size_t count) {
    auto* memory = static_cast<T*>(std::malloc(std::max<size_t>(count, 1) * sizeof(T)));
    if (memory == nullptr) throw std::bad_alloc();
    std::copy_n(values, count, memory);
    return memory;
}
template <class T>
void give(const std::vector<T>& values, T** array, size_t* count) {
    *array = caller_owned(values.data(), values.size());
    *count = values.size();
}
void give(const std::string& text, char** place, size_t* bytes = nullptr);

std::string json_text(const nlohmann::ordered_json& json);

// Members of a struct of hetune.h as texts, by name.
class MemberTexts {
  public:
    MemberTexts(const char* owner, const nlohmann::ordered_json& members);
    // Throws RequestError, with all names, where there is no `name`.
    const char* get(const char* name) const;

  private:
    const char* owner_;
    std::map<std::string, std::string, std::less<>> texts_;
};

}  // namespace hetune

struct hetune_model_options {
    hetune::ModelOptions options;
};

struct hetune_generate_options {
    hetune::KeptGenerateOptions options;
};

struct hetune_model {
    explicit hetune_model(hetune::Model the_model);

    hetune::Model model;
    std::string info;  // JSON
    hetune::MemberTexts values;
};

struct hetune_sequence {
    hetune::Sequence sequence;
};

struct hetune_result {
    explicit hetune_result(hetune::Generated the_generated);

    hetune::Generated generated;
    hetune::MemberTexts values;
    // Generated::logprobs and top_logprobs as arrays of plain values.
    struct Top {
        std::vector<int32_t> tokens;
        std::vector<float> logprobs;
    };
    std::vector<float> logprobs;
    std::vector<Top> top;
};
