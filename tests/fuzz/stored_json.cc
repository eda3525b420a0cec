// Texts that a cache folder, a bundle or another machine holds: tuning results, recipes with the
// plan that they name, certificates, and JSON with a checksum.
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"
#include "cache/recipe.h"
#include "cache/tuning_store.h"
#include "planner/file/model_header.h"
#include "runtime/engine/recipes.h"
#include "runtime/trial/certificate.h"
#include "tests/fuzz/fuzz.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune::fuzz {
namespace {

void run_tuning(std::string_view input) {
    may_throw<CacheError>([&] {
        const TuningRecord record = decode_tuning(bytes_of(input));
        const std::string text = encode_tuning(record);
        require(encode_tuning(decode_tuning(bytes_of(text))) == text,
                "a tuning result changes when it is written again");
    });
}

TuningRecord sample_tuning() {
    TuningRecord record{
        .key = {"gemv", "gemv(Quant=Q4_K, kCols=4096, kRows=4096) x1", "gfx1100", "a card", "c 1"},
        .point = {{"kWaves", "4"}},
        .default_point = {{"kWaves", "8"}},
        .us = 10,
        .default_us = 11,
        .noise_us = 0.1,
        .measured = true,
        .origin = {{"box", "1"}}};
    record.trials.push_back({.point = {{"kWaves", "4"}}, .state = "timed", .us = 10, .samples = 5});
    record.also.push_back({{"box", "2"}});
    return record;
}

std::vector<std::string> tuning_seeds() {
    TuningRecord ranked = sample_tuning();
    ranked.measured = false;
    ranked.key.device.clear();
    return {encode_tuning(sample_tuning()), encode_tuning(ranked)};
}

// A recipe carries a hash of its content, so that hardly any change of its text gets past it:
// the first byte says whether the rest is a line, or the values of a plan for a good header.
void run_recipe(std::string_view bytes) {
    Input input(bytes);
    static const Recipe good = [] {
        const std::string path = scratch_folder() + "/recipe.gguf";
        write_synthetic(small("qwen3"), {.header_only = true}, path);
        const ModelFile file(path, ModelFile::Open::kHeaderOnly);
        return Recipe{"small", {}, planning_header(file)};
    }();
    Recipe recipe = good;
    const bool is_line = input.byte() == 'l';
    may_throw<CacheError>([&] {
        if (is_line) {
            recipe = Recipe::parse(input.rest());
            require(Recipe::parse(recipe.line()) == recipe, "a recipe changes when it is written");
        }
        while (!is_line && !input.empty()) {
            const std::string name(input.until('='));
            recipe.plan[name] = input.until('\n');
        }
        may_throw<ModelError>([&] { kernels_of_recipes({recipe}, find_arch("gfx1100")); });
    });
}

std::vector<std::string> recipe_seeds() {
    const std::string path = scratch_folder() + "/seed.gguf";
    write_synthetic(small("qwen3"), {.header_only = true}, path);
    const ModelFile file(path, ModelFile::Open::kHeaderOnly);
    std::vector<std::string> list;
    for (const Recipe& recipe : recipes_of_load(file, {})) {
        list.push_back(std::string("l").append(recipe.line()));
        std::string values = "p";
        for (const auto& [name, value] : recipe.plan) values += name + "=" + value + "\n";
        list.push_back(values);
    }
    return list;
}

void run_json(std::string_view input) {
    may_throw<CacheError>([&] {
        const auto json = parse_json(input);
        if (!json.is_object()) return;
        const std::string sealed = sealed_json(json);
        auto expected = json;
        expected.erase("check");
        require(open_sealed_json(sealed) == expected, "a sealed text has another content");
    });
    may_throw<CacheError>([&] { open_sealed_json(input); });
    may_throw<CacheError>([&] {
        const auto json = parse_json(input);
        try {
            certificate_of(json);
        } catch (const nlohmann::json::exception&) {  // what its header promises
        }
    });
}

std::vector<std::string> json_seeds() {
    Certificate certificate{.failure = "y differs", .ms = 1, .launch_ms = 0.5};
    certificate.outputs.push_back({"y", 100, 1e-3, 1e-4, 1e-2, {}});
    return {to_json(certificate).dump(), sealed_json(to_json(certificate)),
            R"({"a": [1, -2, 0.5, 1e300, true, null, "\u00e9"], "b": {"c": {}}})"};
}

const RegisterTarget kTuning({"tuning", run_tuning, tuning_seeds});
const RegisterTarget kRecipe({"recipe", run_recipe, recipe_seeds});
const RegisterTarget kJson({"json", run_json, json_seeds});

}  // namespace
}  // namespace hetune::fuzz
