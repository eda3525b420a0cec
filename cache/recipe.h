// What real use needed, without arch, compiler and binary: one plan of one model. Recorded beside
// the objects, carried to another box, and replayed there for any arch (runtime/engine/recipes.h).
//
// As text a recipe is one line of JSON, so that recipes of many machines are put together by
// putting their lines together.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cache/left_out.h"
#include "cache/options.h"

namespace hetune {

struct Recipe {
    std::string model;                        // a name for people; no part of the id
    std::map<std::string, std::string> plan;  // "phase": "decode", "rows": "1", ...
    std::vector<std::byte> header;            // of the model: shapes and types of its tensors

    bool operator==(const Recipe&) const = default;
    // BLAKE2b-256 of plan and header in hex: the same need has the same id on every machine.
    std::string id() const;
    std::string line() const;  // without the line feed
    // Throws CacheError for what is no recipe, is damaged or claims too much; OtherFormat for one
    // of another version.
    static Recipe parse(std::string_view line);
};

// The recipes of a file, each once, sorted by id. Throws CacheError that names file and line.
std::vector<Recipe> read_recipes(const std::filesystem::path& file);
// Writes them sorted by id, each once: equal recipes give equal bytes. Throws std::system_error.
void write_recipes(std::vector<Recipe> recipes, const std::filesystem::path& file);

// recipes/ID in a cache folder. The good ones, sorted by id; `left_out` gets the others.
std::vector<Recipe> list_recipes(const std::filesystem::path& folder, LeftOut* left_out = nullptr);
enum class Recorded { kNew, kThere, kReplaced };  // kReplaced: the file was damaged
// Beyond kMaxRecipes the oldest goes. Throws std::system_error.
Recorded record_recipe(const std::filesystem::path& folder, const Recipe& recipe);

constexpr size_t kMaxRecipes = 1000;  // of a folder: about 10 KiB each

}  // namespace hetune
