// Recipes as text, in files and in a cache folder.
#include "cache/recipe.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "cache/code_store.h"
#include "cache/error.h"
#include "cache/maintenance.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

Recipe sample_recipe(int number) {
    Recipe recipe{"model " + std::to_string(number),
                  {{"phase", "prefill"}, {"rows", std::to_string(number)}},
                  std::vector<std::byte>(3000, static_cast<std::byte>(number))};
    for (size_t i = 0; i < 300; ++i) recipe.header[i] = static_cast<std::byte>(i * 7 % 251);
    return recipe;
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("A recipe is one line that reads back, and its id is that of the need, not of the name") {
    const Recipe recipe = sample_recipe(5);
    const std::string line = recipe.line();
    CHECK(line.find('\n') == std::string::npos);
    CHECK(Recipe::parse(line) == recipe);
    Recipe renamed = recipe;
    renamed.model = "a fine-tune\n\x1b[2J \xff";
    CHECK(renamed.id() == recipe.id());
    CHECK(renamed.line().find('\n') == std::string::npos);
    Recipe other = recipe;
    other.plan["rows"] = "6";
    CHECK(other.id() != recipe.id());
    other = recipe;
    other.header.back() ^= std::byte{1};
    CHECK(other.id() != recipe.id());
}

TEST_CASE(
    "Every flipped byte and every cut of a recipe is found, or changes only the model's name") {
    const Recipe recipe = sample_recipe(1);
    const std::string line = recipe.line();
    for (size_t i = 0; i < line.size(); ++i) {
        std::string bad = line;
        bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 7)));
        CAPTURE(i);
        try {
            Recipe read = Recipe::parse(bad);
            read.model = recipe.model;
            REQUIRE(read == recipe);
        } catch (const CacheError&) {
        }
        REQUIRE_THROWS_AS(Recipe::parse(line.substr(0, i)), CacheError);
    }
}

TEST_CASE("A recipe that claims too much is refused before memory is taken") {
    const std::string line = sample_recipe(1).line();
    const std::string claim = "\"header_bytes\":3000";
    for (const char* bytes : {"18446744073709551615", "16000000", "100000000000"}) {
        std::string bomb = line;
        bomb.replace(bomb.find(claim), claim.size(), std::string("\"header_bytes\":") + bytes);
        CHECK_THROWS_WITH_AS(Recipe::parse(bomb), doctest::Contains("claims"), CacheError);
    }
}

TEST_CASE("Files of recipes unite, whatever their order; a broken line is named") {
    TestFolder folder;
    const auto one = folder.path() / "one", two = folder.path() / "two";
    write_recipes({sample_recipe(1), sample_recipe(2)}, one);
    Recipe renamed = sample_recipe(2);
    renamed.model = "another name";
    write_recipes({renamed, sample_recipe(3)}, two);
    auto all = read_recipes(one);
    for (Recipe& recipe : read_recipes(two)) all.push_back(std::move(recipe));
    write_recipes(all, folder.path() / "all");
    std::ranges::reverse(all);
    write_recipes(all, folder.path() / "all again");
    CHECK(read_recipes(folder.path() / "all").size() == 3);
    CHECK(read_text(folder.path() / "all") == read_text(folder.path() / "all again"));
    // Put together by `cat` they are the same.
    std::ofstream(folder.path() / "cat") << read_text(one) << read_text(two);
    CHECK(read_recipes(folder.path() / "cat") == read_recipes(folder.path() / "all"));
    std::ofstream(folder.path() / "cat", std::ios::app) << "{\"recipe\": 1}\n";
    CHECK_THROWS_WITH_AS(read_recipes(folder.path() / "cat"), doctest::Contains("cat:5: "),
                         CacheError);
    CHECK_THROWS_AS(read_recipes(folder.path() / "missing"), CacheError);
}

TEST_CASE("A folder keeps each recipe once; a damaged one is found by verify, and removed") {
    TestFolder folder;
    CacheFolder cache({.folder = folder.path()});
    CHECK(record_recipe(folder.path(), sample_recipe(1)) == Recorded::kNew);
    CHECK(record_recipe(folder.path(), sample_recipe(2)) == Recorded::kNew);
    CHECK(record_recipe(folder.path(), sample_recipe(1)) == Recorded::kThere);
    const auto path = folder.path() / "recipes" / sample_recipe(1).id();
    std::ofstream(path) << "damage";
    CHECK(list_recipes(folder.path()) == std::vector<Recipe>{sample_recipe(2)});
    CHECK(verify_cache(cache, false).damaged == std::vector<std::string>{path.string()});
    verify_cache(cache, true);
    CHECK(verify_cache(cache, false).clean());
    CHECK(verify_cache(cache, false).recipes == 1);
    std::filesystem::rename(folder.path() / "recipes" / sample_recipe(2).id(), path);
    CHECK(list_recipes(folder.path()).empty());  // under the id of another one
}

TEST_CASE("The next record replaces a damaged recipe, with one warning") {
    TestFolder folder;
    std::vector<std::string> warnings;
    CodeStore store({.folder = folder.path(),
                     .warn = [&](const std::string& text) { warnings.push_back(text); }});
    store.record(sample_recipe(1));
    store.record(sample_recipe(2));
    CHECK(warnings.empty());
    const auto path = folder.path() / "recipes" / sample_recipe(1).id();
    const std::string good = read_text(path);
    for (const std::string& bad :
         {std::string(), std::string("damage"), good.substr(0, good.size() / 2),
          read_text(folder.path() / "recipes" / sample_recipe(2).id())}) {
        std::ofstream(path, std::ios::trunc) << bad;
        store.record(sample_recipe(1));
        CHECK(read_text(path) == good);
    }
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0] == "cache: " + path.string() + " was damaged and is recorded again");
}

TEST_CASE("A folder keeps a bounded number of recipes") {
    TestFolder folder;
    CacheFolder cache({.folder = folder.path()});
    const auto shelf = folder.path() / "recipes";
    for (size_t i = 0; i < kMaxRecipes; ++i) std::ofstream(shelf / std::to_string(i)) << i;
    std::filesystem::last_write_time(shelf / "77", std::filesystem::file_time_type::min());
    CHECK(record_recipe(folder.path(), sample_recipe(1)) == Recorded::kNew);
    CHECK_FALSE(std::filesystem::exists(shelf / "77"));
    CHECK(std::distance(std::filesystem::directory_iterator(shelf), {}) == kMaxRecipes);
}

TEST_CASE("A store wants recipes of what it compiled or has itself, not of what layers gave") {
    TestFolder layer, folder;
    CodeStore({.folder = layer.path()}).put(sample_key(1), sample_object(1), sample_parts(1));
    {
        CodeStore store({.folder = folder.path(), .layers = {layer.path()}});
        store.find(sample_key(1));
        CHECK_FALSE(store.wants_recipes());
        store.find(sample_key(2));
        CHECK(store.wants_recipes());
        store.record(sample_recipe(1));
    }
    CHECK(list_recipes(folder.path()).size() == 1);
    CodeStore store({.folder = layer.path()});
    store.find(sample_key(1));
    CHECK(store.wants_recipes());
    CodeStore memory({});
    memory.find(sample_key(1));
    CHECK_FALSE(memory.wants_recipes());
    memory.record(sample_recipe(1));
}

}  // namespace
}  // namespace hetune
