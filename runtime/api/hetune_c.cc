// The library, options and models of hetune_c.h.
#include "runtime/api/hetune_c.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "runtime/api/c_handles.h"

using hetune::give;
using hetune::guarded;
using hetune::need;

void hetune_free(void* memory) { std::free(memory); }

const char* hetune_version(void) { return hetune::version(); }

void hetune_version_numbers(int* major, int* minor, int* patch) {
    int numbers[3] = {};
    std::sscanf(hetune::version(), "%d.%d.%d", &numbers[0], &numbers[1], &numbers[2]);
    int* const places[3] = {major, minor, patch};
    for (int i = 0; i < 3; ++i)
        if (places[i] != nullptr) *places[i] = numbers[i];
}

hetune_status hetune_cache_folder(char** folder) {
    return guarded([&] {
        need(folder, "folder");
        give(hetune::cache_folder(), folder);
    });
}

hetune_status hetune_devices(char** json) {
    return guarded([&] {
        need(json, "json");
        std::vector<std::string> unavailable;
        nlohmann::ordered_json list = nlohmann::ordered_json::array();
        for (const hetune::DeviceListing& device : hetune::devices(&unavailable))
            list.push_back({{"index", device.index},
                            {"backend", device.backend},
                            {"name", device.name},
                            {"arch", device.arch},
                            {"memory_bytes", device.memory_bytes},
                            {"integrated", device.integrated},
                            {"unusable", device.unusable}});
        give(hetune::json_text({{"devices", list}, {"unavailable", unavailable}}), json);
    });
}

hetune_status hetune_model_options_create(hetune_model_options** options) {
    return guarded([&] {
        need(options, "options");
        *options = new hetune_model_options;
    });
}

void hetune_model_options_free(hetune_model_options* options) { delete options; }

hetune_status hetune_model_options_set(hetune_model_options* options, const char* name,
                                       const char* value) {
    return guarded([&] {
        hetune::set_option(need(options, "options").options, &need(name, "name"),
                           &need(value, "value"));
    });
}

hetune_status hetune_model_options_progress(hetune_model_options* options,
                                            hetune_on_progress callback, void* user) {
    return guarded([&] {
        auto& progress = need(options, "options").options.progress = nullptr;
        if (callback != nullptr)
            progress = [=](std::string_view stage, size_t done, size_t total) {
                callback(std::string(stage).c_str(), done, total, user);
            };
    });
}

hetune_status hetune_model_options_compiled(hetune_model_options* options,
                                            hetune_on_compiled callback, void* user) {
    return guarded([&] {
        auto& compiled = need(options, "options").options.compiled = nullptr;
        if (callback != nullptr)
            compiled = [=](std::string_view kernel) {
                callback(std::string(kernel).c_str(), user);
            };
    });
}

hetune_status hetune_model_options_cancelled(hetune_model_options* options,
                                             hetune_is_cancelled callback, void* user) {
    return guarded([&] {
        auto& cancelled = need(options, "options").options.cancelled = nullptr;
        if (callback != nullptr) cancelled = [=] { return callback(user) != 0; };
    });
}

hetune_status hetune_model_options_warn(hetune_model_options* options, hetune_on_warning callback,
                                        void* user) {
    return guarded([&] {
        auto& warn = need(options, "options").options.warn = nullptr;
        if (callback != nullptr)
            warn = [=](const std::string& line) { callback(line.c_str(), user); };
    });
}

hetune_status hetune_model_load(const char* path, const hetune_model_options* options,
                                hetune_model** model) {
    return guarded([&] {
        need(path, "path");
        need(model, "model");
        *model = new hetune_model(
            hetune::Model(path, options == nullptr ? hetune::ModelOptions() : options->options));
    });
}

void hetune_model_free(hetune_model* model) { delete model; }

hetune_status hetune_model_info(const hetune_model* model, const char** json) {
    return guarded([&] { need(json, "json") = need(model, "model").info.c_str(); });
}

hetune_status hetune_model_value(const hetune_model* model, const char* name, const char** value) {
    return guarded(
        [&] { need(value, "value") = need(model, "model").values.get(&need(name, "name")); });
}

hetune_status hetune_model_tokenize(const hetune_model* model, const char* text, size_t bytes,
                                    int flags, int32_t** tokens, size_t* count) {
    return guarded([&] {
        need(tokens, "tokens");
        need(count, "count");
        hetune::check_flags(flags, HETUNE_PARSE_SPECIAL | HETUNE_FIRST);
        give(need(model, "model")
                 .model.tokenize(hetune::text_argument(text, bytes, "text"),
                                 (flags & HETUNE_PARSE_SPECIAL) != 0, (flags & HETUNE_FIRST) != 0),
             tokens, count);
    });
}

namespace {

// The body of hetune_model_embed() and its kin; `input` gives the text or the tokens.
template <class Input>
hetune_status embed(const hetune_model* model, int flags, float** values, size_t* floats,
                    const Input& input) {
    return guarded([&] {
        need(values, "values");
        need(floats, "floats");
        hetune::check_flags(flags, HETUNE_POOL_MEAN | HETUNE_POOL_LAST | HETUNE_NOT_SCALED);
        constexpr int kBoth = HETUNE_POOL_MEAN | HETUNE_POOL_LAST;
        if ((flags & kBoth) == kBoth)
            throw hetune::OptionError("HETUNE_POOL_MEAN and HETUNE_POOL_LAST exclude each other");
        const auto pooling = (flags & HETUNE_POOL_MEAN) != 0   ? hetune::Pooling::kMean
                             : (flags & HETUNE_POOL_LAST) != 0 ? hetune::Pooling::kLast
                                                               : hetune::Pooling::kModel;
        give(need(model, "model").model.embed(input(), pooling, (flags & HETUNE_NOT_SCALED) == 0),
             values, floats);
    });
}

}  // namespace

hetune_status hetune_model_embed(const hetune_model* model, const char* text, size_t bytes,
                                 int flags, float** values, size_t* floats) {
    return embed(model, flags, values, floats,
                 [&] { return hetune::text_argument(text, bytes, "text"); });
}

hetune_status hetune_model_embed_tokens(const hetune_model* model, const int32_t* tokens,
                                        size_t count, int flags, float** values, size_t* floats) {
    return embed(model, flags, values, floats,
                 [&] { return hetune::tokens_argument(tokens, count); });
}

hetune_status hetune_model_detokenize(const hetune_model* model, const int32_t* tokens,
                                      size_t count, char** text, size_t* bytes) {
    return guarded([&] {
        need(text, "text");
        give(need(model, "model").model.detokenize(hetune::tokens_argument(tokens, count)), text,
             bytes);
    });
}

hetune_status hetune_model_has_chat_template(const hetune_model* model, int* has) {
    return guarded([&] { need(has, "has") = need(model, "model").model.has_chat_template(); });
}

hetune_status hetune_model_render(const hetune_model* model, const char* messages,
                                  const char* kwargs, int32_t** tokens, size_t* count) {
    return guarded([&] {
        need(tokens, "tokens");
        need(count, "count");
        give(need(model, "model")
                 .model.render(hetune::messages_argument(messages), hetune::optional_text(kwargs)),
             tokens, count);
    });
}

hetune_status hetune_model_plan(const hetune_model* model, int prefill, char** json) {
    return guarded([&] {
        need(json, "json");
        give(need(model, "model").model.plan(prefill != 0, true), json);
    });
}

hetune_status hetune_generate_options_create(hetune_generate_options** options) {
    return guarded([&] {
        need(options, "options");
        *options = new hetune_generate_options;
    });
}

void hetune_generate_options_free(hetune_generate_options* options) { delete options; }

hetune_status hetune_generate_options_set(hetune_generate_options* options, const char* name,
                                          const char* value) {
    return guarded([&] {
        hetune::set_option(need(options, "options").options, &need(name, "name"),
                           &need(value, "value"));
    });
}

hetune_status hetune_generate_options_cancelled(hetune_generate_options* options,
                                                hetune_is_cancelled callback, void* user) {
    return guarded([&] {
        auto& cancelled = need(options, "options").options.options.cancelled = nullptr;
        if (callback != nullptr) cancelled = [=] { return callback(user) != 0; };
    });
}
