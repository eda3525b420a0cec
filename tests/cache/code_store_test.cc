#include "cache/code_store.h"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

TEST_CASE("CodeStore gives back what was put, in the same and in a later process") {
    TestFolder folder;
    {
        CodeStore store({.folder = folder.path()});
        CHECK_FALSE(store.find(sample_key(1)).has_value());
        store.put(sample_key(1), sample_object(1), sample_parts(1));
        CHECK(store.find(sample_key(1)) == sample_object(1));
        CHECK(store.statistics() ==
              CacheStatistics{1, 1, 1, 0, 70.5, {{"folder", 1, 70.5}, {"memory"}, {"remote"}}});
    }
    CodeStore later({.folder = folder.path()});
    CHECK(later.find(sample_key(1)) == sample_object(1));
    CHECK_FALSE(later.find(sample_key(2)).has_value());
}

TEST_CASE("CodeStore without a folder keeps objects in memory") {
    CodeStore store({});
    store.put(sample_key(1), sample_object(1), {});
    CHECK(store.find(sample_key(1)) == sample_object(1));
    CHECK(store.statistics().stored == 0);
}

TEST_CASE("CodeStore finds every flipped byte of an object, drops the entry and says so once") {
    TestFolder folder;
    Warnings warnings;
    CodeStore store({.folder = folder.path(), .warn = warnings.function()});
    store.put(sample_key(1), sample_object(1), sample_parts(1));
    const auto path = object_path(folder.path(), sample_key(1));
    const std::string good = read_text(path);
    REQUIRE(good.size() > 300);
    for (size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
        write_text(path, bad);
        CAPTURE(i);
        REQUIRE_FALSE(store.find(sample_key(1)).has_value());
        REQUIRE_FALSE(std::filesystem::exists(path));
    }
    CHECK(store.statistics().damaged == good.size());
    CHECK(warnings.list().size() == 1);
    store.put(sample_key(1), sample_object(1), sample_parts(1));
    CHECK(store.find(sample_key(1)) == sample_object(1));
}

TEST_CASE("CodeStore takes an object cut or lengthened anywhere for a miss") {
    TestFolder folder;
    CodeStore store({.folder = folder.path()});
    store.put(sample_key(1), sample_object(1), sample_parts(1));
    const auto path = object_path(folder.path(), sample_key(1));
    const std::string good = read_text(path);
    for (size_t length = 0; length < good.size(); ++length) {
        write_text(path, good.substr(0, length));
        CAPTURE(length);
        REQUIRE_FALSE(store.find(sample_key(1)).has_value());
    }
    write_text(path, good + "x");
    CHECK_FALSE(store.find(sample_key(1)).has_value());
}

TEST_CASE("CodeStore does not serve the object of another key that lies at its place") {
    TestFolder folder;
    CodeStore store({.folder = folder.path()});
    store.put(sample_key(1), sample_object(1), {});
    store.put(sample_key(2), sample_object(2), {});
    std::filesystem::copy_file(object_path(folder.path(), sample_key(1)),
                               object_path(folder.path(), sample_key(2)),
                               std::filesystem::copy_options::overwrite_existing);
    CHECK_FALSE(store.find(sample_key(2)).has_value());
}

TEST_CASE("CodeStore serves many threads at once") {
    TestFolder folder;
    CodeStore store({.folder = folder.path()});
    std::atomic<int> wrong = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&] {
                for (int i = 0; i < 20; ++i) {
                    const auto code = store.find(sample_key(i));
                    if (code && *code != sample_object(i)) ++wrong;
                    if (!code) store.put(sample_key(i), sample_object(i), sample_parts(i));
                }
            });
    }
    CHECK(wrong == 0);
    for (int i = 0; i < 20; ++i) CHECK(store.find(sample_key(i)) == sample_object(i));
}

TEST_CASE("CodeStore asks its layers before its folder and never writes to them") {
    TestFolder layer;
    TestFolder folder;
    CodeStore({.folder = layer.path()}).put(sample_key(1), sample_object(1), {});
    CodeStore store({.folder = folder.path(), .layers = {folder.path() / "none", layer.path()}});
    CHECK(store.find(sample_key(1)) == sample_object(1));
    CHECK(store.statistics().places[0].hits == 0);
    CHECK(store.statistics().places[1].hits == 1);
    CHECK(store.statistics().places[1].name == "layer " + layer.path().string());
    CHECK_FALSE(std::filesystem::exists(object_path(folder.path(), sample_key(1))));
    const auto path = object_path(layer.path(), sample_key(1));
    write_text(path, "broken");
    CHECK_FALSE(store.find(sample_key(1)).has_value());
    CHECK(read_text(path) == "broken");
}

}  // namespace
}  // namespace hetune
