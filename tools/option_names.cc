#include "tools/option_names.h"

#include <string_view>

namespace hetune {
namespace {

struct OptionName {
    std::string_view in_library, of_command;
};

constexpr OptionName kOptionNames[] = {
    {"ModelOptions::backend", "--backend"},
    {"ModelOptions::device", "--device"},
    {"ModelOptions::compiler", "--compiler"},
    {"ModelOptions::context", "--ctx"},
    {"ModelOptions::prefill_rows", "--prefill-rows"},
    {"ModelOptions::fusion", "--fusion"},
    {"ModelOptions::float_activations = true", "--activations f32"},
    {"ModelOptions::float_activations", "--activations"},
    {"ModelOptions::kv_type", "--kv"},
    {"ModelOptions::memory_limit", "--memory-limit"},
    {"ModelOptions::pre_tokenizer", "--pre"},
    {"ModelOptions::chat_template", "--chat-template"},
    {"ModelOptions::any_compiler_build", "--any-compiler-build"},
    {"ModelOptions::allow_unused", "--allow-unused"},
    {"ModelOptions::state_snapshots", "--state-snapshots"},
    {"ModelOptions::state_checkpoints", "--state-checkpoints"},
    {"ModelOptions::prompt_cache_bytes", "--prompt-cache-size"},
    {"ModelOptions::prompt_cache", "--prompt-cache"},
    {"ModelOptions::prefix_cache = false", "--no-prefix-cache"},
    {"ModelOptions::parallel", "--parallel"},
    {"ModelOptions::jobs", "--jobs"},
    {"ModelOptions::threads", "--threads"},
    {"ModelOptions::no_jit = true", "--no-jit"},
    {"ModelOptions::no_jit", "--no-jit"},
    {"ModelOptions::certify", "--certify"},
    {"ModelOptions::retry = true", "--retry"},
    {"ModelOptions::retry", "--retry"},
    {"GenerateOptions::max_tokens", "--tokens"},
    {"GenerateOptions::stop", "--stop"},
    {"Sampling::temperature", "--temp"},
    {"Sampling::top_k", "--top-k"},
    {"Sampling::top_p", "--top-p"},
    {"Sampling::min_p", "--min-p"},
    {"Sampling::repeat_penalty", "--repeat-penalty"},
    {"Sampling::repeat_window", "--repeat-window"},
};

// ` = "bf16"` or ` = 4` behind a name becomes ` bf16` or ` 4`.
void strip_assignment(std::string& text, size_t at) {
    constexpr std::string_view kEquals = " = ";
    if (text.compare(at, kEquals.size(), kEquals) != 0) return;
    text.replace(at, kEquals.size(), " ");
    if (++at >= text.size() || text[at] != '"') return;
    text.erase(at, 1);
    if (const size_t end = text.find('"', at); end != std::string::npos) text.erase(end, 1);
}

}  // namespace

std::string with_option_names(std::string text) {
    for (const OptionName& name : kOptionNames)
        for (size_t at = 0; (at = text.find(name.in_library, at)) != std::string::npos;) {
            text.replace(at, name.in_library.size(), name.of_command);
            at += name.of_command.size();
            strip_assignment(text, at);
        }
    return text;
}

}  // namespace hetune
