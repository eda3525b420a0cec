#include "cache/recipe.h"

#include <fmt/format.h>
#include <sodium.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cache/blake2b.h"
#include "cache/compression.h"
#include "cache/error.h"
#include "cache/json_text.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRecipeVersion = 1;
constexpr uint64_t kMaxHeaderBytes = 16 << 20;
constexpr uint64_t kMaxFileBytes = 256 << 20;
constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL;

std::string to_base64(std::span<const std::byte> bytes) {
    std::string text(sodium_base64_ENCODED_LEN(bytes.size(), kBase64), '\0');
    sodium_bin2base64(text.data(), text.size(),
                      reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), kBase64);
    text.pop_back();  // the zero
    return text;
}

std::vector<std::byte> from_base64(const std::string& text) {
    std::vector<std::byte> bytes(text.size() / 4 * 3);
    size_t size = 0;
    const char* end = nullptr;
    if (sodium_base642bin(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), text.data(),
                          text.size(), nullptr, &size, &end, kBase64) != 0 ||
        end != text.data() + text.size())
        throw CacheError("its header is no base64");
    bytes.resize(size);
    return bytes;
}

void sort_and_unite(std::vector<Recipe>& recipes) {
    std::vector<std::pair<std::string, Recipe>> by_id;
    for (Recipe& recipe : recipes) by_id.emplace_back(recipe.id(), std::move(recipe));
    // Of two names for one need, the first in the alphabet.
    std::ranges::sort(by_id, {},
                      [](const auto& entry) { return std::tie(entry.first, entry.second.model); });
    const auto same = std::ranges::unique(by_id, {}, [](const auto& entry) { return entry.first; });
    by_id.erase(same.begin(), same.end());
    recipes.clear();
    for (auto& [id, recipe] : by_id) recipes.push_back(std::move(recipe));
}

bool is_id(std::string_view name) {
    return name.size() == 64 &&
           name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void drop_oldest(const std::filesystem::path& shelf) {
    std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> files;
    std::error_code error;
    for (const auto& path : list_folder(shelf))
        files.emplace_back(std::filesystem::last_write_time(path, error), path);
    if (files.size() <= kMaxRecipes) return;
    std::ranges::sort(files);
    for (size_t i = 0; i < files.size() - kMaxRecipes; ++i) unlink(files[i].second.c_str());
}

}  // namespace

std::string Recipe::id() const {
    Blake2b hash;
    const std::string text = Json(plan).dump();
    hash.add(std::as_bytes(std::span(text)));
    hash.add(header);
    return hex(hash.finish());
}

std::string Recipe::line() const {
    return Json{{"recipe", kRecipeVersion},
                {"id", id()},
                {"model", model},
                {"plan", plan},
                {"header_bytes", header.size()},
                {"header", to_base64(compress(header))}}
        .dump(-1, ' ', false, Json::error_handler_t::replace);
}

Recipe Recipe::parse(std::string_view line) {
    const Json json = parse_json(line);
    require_format(json, "recipe", kRecipeVersion);
    Recipe recipe{json_value<std::string>(json, "model"),
                  json_value<std::map<std::string, std::string>>(json, "plan"),
                  {}};
    const auto bytes = json_value<uint64_t>(json, "header_bytes");
    const auto stored = from_base64(json_value<std::string>(json, "header"));
    if (bytes > kMaxHeaderBytes || bytes / kMaxRatio > stored.size())
        throw CacheError(fmt::format("its header claims {} bytes", bytes));
    auto header = decompress(stored, bytes);
    if (!header) throw CacheError("its header cannot be decompressed");
    recipe.header = *std::move(header);
    if (recipe.id() != json_value<std::string>(json, "id")) throw CacheError("it is damaged");
    return recipe;
}

std::vector<Recipe> read_recipes(const std::filesystem::path& file) {
    const auto bytes = read_file(file, kMaxFileBytes);
    if (!bytes) throw CacheError(fmt::format("{}: cannot be read", file.string()));
    std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
    std::vector<Recipe> recipes;
    for (int number = 1; !text.empty(); ++number) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty()) continue;
        try {
            recipes.push_back(Recipe::parse(line));
        } catch (const CacheError& error) {
            throw CacheError(fmt::format("{}:{}: {}", file.string(), number, error.what()));
        }
    }
    sort_and_unite(recipes);
    return recipes;
}

void write_recipes(std::vector<Recipe> recipes, const std::filesystem::path& file) {
    sort_and_unite(recipes);
    OutputFile output(file);
    for (const Recipe& recipe : recipes) output.write(recipe.line() + "\n");
    output.commit();
}

namespace {

Recipe parse_file(const std::filesystem::path& path) {
    const auto bytes = read_file(path, kMaxFileBytes);
    if (!bytes) throw CacheError("it cannot be read");
    return Recipe::parse({reinterpret_cast<const char*>(bytes->data()), bytes->size()});
}

// The recipe of a file in recipes/, whose name is the recipe's id. Throws CacheError.
Recipe read_recipe(const std::filesystem::path& path) {
    if (!is_id(path.filename().string())) throw CacheError("no recipe");
    Recipe recipe = parse_file(path);
    if (recipe.id() != path.filename()) throw CacheError("another recipe");
    return recipe;
}

// Whether the file of `recipe` holds anything else. A recipe of another version is left to the
// hetune that wrote it.
bool is_damaged(const std::filesystem::path& path, const Recipe& recipe) try {
    const Recipe there = parse_file(path);
    return there.plan != recipe.plan || there.header != recipe.header;
} catch (const OtherFormat&) {
    return false;
} catch (const CacheError&) {
    return true;
}

}  // namespace

std::vector<Recipe> list_recipes(const std::filesystem::path& folder, LeftOut* left_out) {
    std::vector<Recipe> recipes;
    for (const auto& path : list_folder(folder / "recipes")) {
        try {
            recipes.push_back(read_recipe(path));
        } catch (const CacheError& problem) {
            if (left_out != nullptr) left_out->add(path, problem);
        }
    }
    sort_and_unite(recipes);
    return recipes;
}

Recorded record_recipe(const std::filesystem::path& folder, const Recipe& recipe) {
    const auto path = folder / "recipes" / recipe.id();
    std::error_code none;
    const bool exists = std::filesystem::exists(path, none);
    if (exists && !is_damaged(path, recipe)) return Recorded::kThere;
    const std::string line = recipe.line() + "\n";
    TempFile temp(folder / "tmp");
    temp.write(std::as_bytes(std::span(line)));
    temp.commit(path);
    drop_oldest(folder / "recipes");
    return exists ? Recorded::kReplaced : Recorded::kNew;
}

}  // namespace hetune
