#include "runtime/api/option_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace hetune {
namespace {

// The text of one option, turned into the type of the member that it is for.
struct OptionText {
    const char* owner;
    const char* name;
    std::string_view text;

    [[noreturn]] void refuse(std::string_view wanted) const {
        throw OptionError(fmt::format("{}::{} is '{}'; it must be {}", owner, name, text, wanted));
    }
    template <class Number>
    bool read(Number& number) const {
        Number read{};
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
        if (error != std::errc() || end != text.data() + text.size()) return false;
        number = read;
        return true;
    }

    void into(std::string& member) const { member = text; }
    void into(std::vector<std::string>& member) const { member.emplace_back(text); }
    void into(bool& member) const {
        if (text != "true" && text != "false") refuse("true or false");
        member = text == "true";
    }
    template <std::integral Integer>
    void into(Integer& member) const {
        using Limits = std::numeric_limits<Integer>;
        if (!read(member))
            refuse(fmt::format("a whole number, {} to {}", Limits::min(), Limits::max()));
    }
    void into(double& member) const {
        double number = 0;
        if (!read(number) || !std::isfinite(number)) refuse("a number");
        member = number;
    }
    void into(std::optional<double>& member) const {
        double seconds = 0;
        into(seconds);
        // Ten years: a clock counts nanoseconds in 64 bits.
        if (!(seconds >= 0 && seconds <= 3e8)) refuse("0 to 3e8 seconds");
        member = seconds;
    }
};

template <class Options>
struct OptionMember {
    const char* owner;  // the struct of hetune.h, for messages
    const char* name;
    void (*set)(Options& options, const OptionText& text);
};

template <auto kMember>
constexpr OptionMember<ModelOptions> of_model(const char* name) {
    return {"ModelOptions", name,
            [](ModelOptions& o, const OptionText& text) { text.into(o.*kMember); }};
}
template <auto kMember>
constexpr OptionMember<KeptGenerateOptions> of_generate(const char* name) {
    return {"GenerateOptions", name,
            [](KeptGenerateOptions& o, const OptionText& text) { text.into(o.options.*kMember); }};
}
template <auto kMember>
constexpr OptionMember<KeptGenerateOptions> of_sampling(const char* name) {
    return {"Sampling", name, [](KeptGenerateOptions& o, const OptionText& text) {
                text.into(o.options.sampling.*kMember);
            }};
}

constexpr OptionMember<ModelOptions> kModelMembers[] = {
    of_model<&ModelOptions::backend>("backend"),
    of_model<&ModelOptions::device>("device"),
    of_model<&ModelOptions::compiler>("compiler"),
    of_model<&ModelOptions::context>("context"),
    of_model<&ModelOptions::prefill_rows>("prefill_rows"),
    of_model<&ModelOptions::fusion>("fusion"),
    of_model<&ModelOptions::float_activations>("float_activations"),
    of_model<&ModelOptions::kv_type>("kv_type"),
    of_model<&ModelOptions::tiles>("tiles"),
    of_model<&ModelOptions::all_logits>("all_logits"),
    of_model<&ModelOptions::embeddings>("embeddings"),
    of_model<&ModelOptions::memory_limit>("memory_limit"),
    of_model<&ModelOptions::pre_tokenizer>("pre_tokenizer"),
    of_model<&ModelOptions::chat_template>("chat_template"),
    of_model<&ModelOptions::state_snapshots>("state_snapshots"),
    of_model<&ModelOptions::prefix_cache>("prefix_cache"),
    of_model<&ModelOptions::state_checkpoints>("state_checkpoints"),
    of_model<&ModelOptions::exact_prefix>("exact_prefix"),
    of_model<&ModelOptions::prompt_cache>("prompt_cache"),
    of_model<&ModelOptions::prompt_cache_bytes>("prompt_cache_bytes"),
    of_model<&ModelOptions::parallel>("parallel"),
    of_model<&ModelOptions::most_waiting>("most_waiting"),
    of_model<&ModelOptions::jobs>("jobs"),
    of_model<&ModelOptions::threads>("threads"),
    of_model<&ModelOptions::any_compiler_build>("any_compiler_build"),
    of_model<&ModelOptions::no_jit>("no_jit"),
    of_model<&ModelOptions::certify>("certify"),
    of_model<&ModelOptions::allow_unused>("allow_unused"),
    of_model<&ModelOptions::retry>("retry"),
};

constexpr OptionMember<KeptGenerateOptions> kGenerateMembers[] = {
    of_generate<&GenerateOptions::max_tokens>("max_tokens"),
    of_generate<&GenerateOptions::ignore_end>("ignore_end"),
    of_generate<&GenerateOptions::stop>("stop"),
    of_generate<&GenerateOptions::logprobs>("logprobs"),
    {"GenerateOptions", "deadline_seconds",
     [](KeptGenerateOptions& o, const OptionText& text) { text.into(o.deadline_seconds); }},
    of_sampling<&Sampling::temperature>("temperature"),
    of_sampling<&Sampling::top_k>("top_k"),
    of_sampling<&Sampling::top_p>("top_p"),
    of_sampling<&Sampling::min_p>("min_p"),
    of_sampling<&Sampling::repeat_penalty>("repeat_penalty"),
    of_sampling<&Sampling::repeat_window>("repeat_window"),
    of_sampling<&Sampling::seed>("seed"),
};

// A member more in one of these structs does not compile here: a row in a table above is missing.
// The last four of ModelOptions and the last of GenerateOptions are callbacks.
[[maybe_unused]] void every_member(const ModelOptions& model, const GenerateOptions& generate,
                                   const Sampling& sampling) {
    [[maybe_unused]] const auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15,
                                  m16, m17, m18, m19, m20, m21, m22, m23, m24, m25, m26, m27, m28,
                                  m29, c1, c2, c3, c4] = model;
    static_assert(std::size(kModelMembers) == 29);
    [[maybe_unused]] const auto& [g1, its_sampling, g2, g3, g4, deadline, c5] = generate;
    [[maybe_unused]] const auto& [s1, s2, s3, s4, s5, s6, s7] = sampling;
    static_assert(std::size(kGenerateMembers) == 4 + 1 + 7);
}

template <class Options>
void set_by_name(std::span<const OptionMember<Options>> members, const char* what, Options& options,
                 std::string_view name, std::string_view value) {
    const auto found = std::ranges::find(members, name, &OptionMember<Options>::name);
    if (found == members.end()) {
        std::string known;
        for (const auto& member : members)
            known += fmt::format("{}{}", known.empty() ? "" : ", ", member.name);
        throw OptionError(fmt::format("{} has no '{}'; it has {}", what, name, known));
    }
    found->set(options, {found->owner, found->name, value});
}

}  // namespace

GenerateOptions KeptGenerateOptions::for_call() const {
    GenerateOptions call = options;
    if (deadline_seconds)
        call.deadline = std::chrono::steady_clock::now() +
                        std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                            std::chrono::duration<double>(*deadline_seconds));
    return call;
}

void set_option(ModelOptions& options, std::string_view name, std::string_view value) {
    set_by_name<ModelOptions>(kModelMembers, "ModelOptions", options, name, value);
}
void set_option(KeptGenerateOptions& options, std::string_view name, std::string_view value) {
    set_by_name<KeptGenerateOptions>(kGenerateMembers, "GenerateOptions", options, name, value);
}

}  // namespace hetune
