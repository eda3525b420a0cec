#include "cache/options.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include "cache/code_store.h"
#include "cache/tile_store.h"
#include "tests/cache/samples.h"

namespace hetune {
namespace {

// Sets the variables given and unsets the others of the cache, for one test.
class Environment {
  public:
    explicit Environment(const std::vector<std::pair<std::string, std::string>>& values) {
        for (const char* name : kNames) {
            if (const char* old = getenv(name)) old_.emplace_back(name, old);
            unsetenv(name);
        }
        for (const auto& [name, value] : values) setenv(name.c_str(), value.c_str(), 1);
    }
    ~Environment() {
        for (const char* name : kNames) unsetenv(name);
        for (const auto& [name, value] : old_) setenv(name.c_str(), value.c_str(), 1);
    }

  private:
    static constexpr const char* kNames[] = {
        "HETUNE_CACHE_DIR",  "XDG_CACHE_HOME",    "HOME",
        "HETUNE_CACHE_PATH", "HETUNE_CACHE_SIZE", "HETUNE_TILES_SIZE"};
    std::vector<std::pair<std::string, std::string>> old_;
};

TEST_CASE("The folder is HETUNE_CACHE_DIR, else below XDG_CACHE_HOME, else below HOME") {
    {
        const Environment all(
            {{"HETUNE_CACHE_DIR", "/a"}, {"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}});
        CHECK(cache_options_from_environment({}).folder == "/a");
    }
    {
        const Environment xdg({{"HETUNE_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "/b"}, {"HOME", "/c"}});
        CHECK(cache_options_from_environment({}).folder == "/b/hetune");
    }
    {
        const Environment relative({{"XDG_CACHE_HOME", "b"}, {"HOME", "/c"}});
        CHECK(cache_options_from_environment({}).folder == "/c/.cache/hetune");
    }
}

TEST_CASE("Without HOME the cache is in memory, with one warning") {
    const Environment none({});
    Warnings warnings;
    CodeStore store(cache_options_from_environment(warnings.function()));
    store.put(sample_key(1), sample_object(1), {});
    CHECK(store.find(sample_key(1)) == sample_object(1));
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("Two stores with the same trouble tell it once") {
    const Environment proc({{"HETUNE_CACHE_DIR", "/proc/hetune"}, {"HOME", "/c"}});
    Warnings warnings;
    const CacheOptions options = cache_options_from_environment(warnings.function());
    const CodeStore store(options);
    const TileStore tiles(options);
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("Layers are separated by colons, and empty ones skipped") {
    const Environment layers({{"HOME", "/c"}, {"HETUNE_CACHE_PATH", ":/x::/y z.htb:"}});
    CHECK(cache_options_from_environment({}).layers ==
          std::vector<std::filesystem::path>{"/x", "/y z.htb"});
}

TEST_CASE("A size that cannot be read gives the default and a warning") {
    const Environment sizes(
        {{"HOME", "/c"}, {"HETUNE_CACHE_SIZE", "much"}, {"HETUNE_TILES_SIZE", "3G"}});
    Warnings warnings;
    const CacheOptions options = cache_options_from_environment(warnings.function());
    CHECK(options.max_bytes == CacheOptions().max_bytes);
    CHECK(options.max_tile_bytes == 3ull << 30);
    REQUIRE(warnings.list().size() == 1);
    CHECK(warnings.list()[0].find("HETUNE_CACHE_SIZE=much") != std::string::npos);
}

TEST_CASE("Sizes have binary units and no sign") {
    CHECK(parse_size("4096") == 4096);
    CHECK(parse_size("1.5k") == 1536);
    CHECK(parse_size("2GiB") == 2ull << 30);
    CHECK(parse_size("0") == 0);
    for (const char* bad : {"", "-1", "G", "1X", "1GG", "nan", "inf", "1e30", "9999999T"})
        CHECK_FALSE(parse_size(bad).has_value());
}

}  // namespace
}  // namespace hetune
