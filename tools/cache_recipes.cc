// hetune cache recipes export | merge | ls
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cache/recipe.h"
#include "planner/file/model_file.h"
#include "runtime/text/utf8.h"
#include "tools/cache_commands.h"
#include "tools/options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownDigits = 12;  // of an id

std::vector<Recipe> own_recipes() {
    const CacheFolder folder(cache_options());
    if (folder.readable().empty()) throw CacheError("there is no cache folder with recipes");
    return list_recipes(folder.readable());
}

void report(const std::string& target, size_t count, bool json) {
    if (json)
        print_json({{"file", target}, {"recipes", count}});
    else
        fmt::print("{}: {} recipes\n", target, count);
}

// "Q4_K, Q6_K": of the matrices.
std::vector<std::string> types_of(const ModelFile& file) {
    std::vector<std::string> types;
    for (const Tensor& tensor : file.tensors())
        if (tensor.dims.size() > 1 && std::ranges::count(types, tensor.type_name()) == 0)
            types.emplace_back(tensor.type_name());
    std::ranges::sort(types);
    return types;
}

// A name is whatever somebody wrote into a model file.
std::string printable(std::string name) {
    name = to_valid_utf8(name);
    std::ranges::replace_if(
        name, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
    return name;
}

void print_recipes(const std::vector<Recipe>& recipes, bool json) {
    Json list = Json::array();
    for (const Recipe& recipe : recipes) {
        const ModelFile file("recipe of " + recipe.model, recipe.header);
        const std::string architecture = file.get_string("general.architecture", "");
        if (json) {
            list.push_back({{"id", recipe.id()},
                            {"model", printable(recipe.model)},
                            {"architecture", architecture},
                            {"types", types_of(file)},
                            {"tensors", file.tensors().size()},
                            {"plan", recipe.plan}});
            continue;
        }
        std::string plan;
        for (const auto& [name, value] : recipe.plan) plan += fmt::format("  {} {}", name, value);
        fmt::print("{}  {} ({}; {}){}\n", recipe.id().substr(0, kShownDigits),
                   printable(recipe.model), printable(architecture),
                   fmt::join(types_of(file), ", "), plan);
    }
    if (json) print_json({{"recipes", list}});
}

CommandBody recipes_export(CLI::App& app) {
    auto target = std::make_shared<std::string>();
    app.add_option("-o,--output", *target, "The file to write")->check(not_empty())->required();
    app.footer("Example:\n  hetune cache recipes export -o box1.recipes");
    return [target, json = json_flag(app)] {
        const auto recipes = own_recipes();
        write_recipes(recipes, *target);
        report(*target, recipes.size(), *json);
        return 0;
    };
}

CommandBody recipes_merge(CLI::App& app) {
    auto sources = std::make_shared<std::vector<std::string>>();
    auto target = std::make_shared<std::string>();
    app.add_option("FILE", *sources, "Files of `hetune cache recipes export`")->required();
    app.add_option("-o,--output", *target, "The file to write; default: into the cache folder")
        ->check(not_empty());
    app.footer(
        "Example:\n  hetune cache recipes merge box1.recipes box2.recipes -o fleet.recipes\n"
        "  hetune prewarm --recipes fleet.recipes --arch gfx1100 -o kernels.htb");
    return [sources, target, json = json_flag(app)] {
        std::vector<Recipe> all;
        for (const std::string& source : *sources)
            for (Recipe& recipe : read_recipes(source)) all.push_back(std::move(recipe));
        if (target->empty()) {
            const CacheFolder folder(cache_options());
            require_writable(folder);
            for (const Recipe& recipe : all) record_recipe(folder.writable(), recipe);
            report(folder.writable().string(), list_recipes(folder.writable()).size(), *json);
        } else {
            write_recipes(all, *target);
            report(*target, read_recipes(*target).size(), *json);
        }
        return 0;
    };
}

CommandBody recipes_ls(CLI::App& app) {
    auto source = std::make_shared<std::string>();
    app.add_option("FILE", *source, "A file of recipes; default: those of the cache folder");
    app.footer("Example:\n  hetune cache recipes ls fleet.recipes");
    return [source, json = json_flag(app)] {
        print_recipes(source->empty() ? own_recipes() : read_recipes(*source), *json);
        return 0;
    };
}

constexpr CacheSubcommand kRecipeCommands[] = {
    {"export", "Writes the recipes of the cache folder into one file", recipes_export},
    {"merge", "Unites files of recipes, in one file or in the cache folder", recipes_merge},
    {"ls", "Lists recipes: model, formats, phase, rows", recipes_ls},
};

}  // namespace

CommandBody cache_recipes(CLI::App& app) {
    app.footer(
        "A recipe is one plan of one model that was really used: shapes, formats, phase and rows,\n"
        "without arch, compiler or binary. `hetune prewarm --recipes` compiles it for any arch.\n\n"
        "Example:\n  hetune cache recipes export -o box1.recipes");
    return add_subcommands(app, kRecipeCommands);
}

}  // namespace hetune
