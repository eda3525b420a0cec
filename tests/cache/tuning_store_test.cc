// Tuning results in cache folders, layers and bundles.
#include "cache/tuning_store.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "cache/error.h"
#include "cache/json_text.h"
#include "cache/transfer.h"
#include "tests/cache/child_process.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

TuningRecord record(const std::string& shape, double us, const std::string& box,
                    bool measured = true) {
    return {.key = {"gemv", shape, "gfx1100", measured ? "RX 7900 XTX" : "", "clang 19"},
            .point = {{"kWaves", us < 2 ? "4" : "2"}},
            .default_point = {{"kWaves", "1"}},
            .us = us,
            .default_us = 4,
            .noise_us = 0.1,
            .measured = measured,
            .context = 512,
            .trials = {{.point = {{"kWaves", "4"}},
                        .state = "timed",
                        .us = us,
                        .noise_us = 0.1,
                        .samples = 15,
                        .model_us = 3,
                        .vgprs = 40,
                        .lds_bytes = 512},
                       {.point = {{"kWaves", "16"}}, .state = "wrong", .why = "y differs"}},
            .origin = {{"box", box}},
            .created = 1700000000};
}

TEST_CASE("a result comes back as it was put, through JSON too") {
    const TestFolder folder;
    const CacheFolder cache({.folder = folder.path() / "cache"});
    TuningStore store(cache);
    const TuningRecord one = record("a", 1.5, "one");
    CHECK(store.put(one));
    REQUIRE(store.all().size() == 1);
    CHECK(store.all()[0] == one);
    CHECK(record_from_json(to_json(one)) == one);
    const std::string text = encode_tuning(one);
    CHECK(decode_tuning(std::as_bytes(std::span(text))) == one);
    CHECK(store.all("gfx1100").size() == 1);
    CHECK(store.all("sm_90").empty());
    CHECK(store.remove({one.key}) == 1);
    CHECK(store.all().empty());
}

TEST_CASE(
    "of two results with one key the faster stays, in either order, and keeps where the other came "
    "from") {
    for (const bool fast_first : {true, false}) {
        const TestFolder folder;
        const CacheFolder cache({.folder = folder.path() / "cache"});
        TuningStore store(cache);
        const TuningRecord fast = record("a", 1.0, "fast box"), slow = record("a", 3.0, "slow box");
        store.put(fast_first ? fast : slow);
        store.put(fast_first ? slow : fast);
        store.put(slow);  // once more: nothing is added twice
        REQUIRE(store.all().size() == 1);
        CHECK(store.all()[0].us == 1.0);
        CHECK(store.all()[0].also == std::vector<NamedValues>{{{"box", "slow box"}}});
        store.put(slow, true);
        CHECK(store.all()[0].us == 3.0);
    }
    const TuningRecord ranked = record("a", 0.1, "model", false);
    CHECK(merge(ranked, record("a", 3.0, "slow box")).measured);
}

TEST_CASE(
    "damaged, newer and misnamed results are left out with one warning, and replaced by the next") {
    const TestFolder folder;
    std::vector<std::string> warnings;
    const CacheFolder cache({.folder = folder.path() / "cache",
                             .warn = [&](const std::string& w) { warnings.push_back(w); }});
    TuningStore store(cache);
    const TuningRecord a = record("a", 1, "x"), b = record("b", 1, "x"), c = record("c", 1, "x");
    for (const TuningRecord& r : {a, b, c}) store.put(r);
    const auto path = [&](const TuningRecord& r) {
        return folder.path() / "cache" / tuning_name(r.key.hash());
    };
    fs::resize_file(path(a), fs::file_size(path(a)) / 2);
    nlohmann::ordered_json newer = to_json(b);
    newer["version"] = 9;
    std::ofstream(path(b)) << sealed_json(newer);
    fs::copy_file(path(c), folder.path() / "cache" / tuning_name(record("d", 1, "x").key.hash()));
    CHECK(store.all() == std::vector<TuningRecord>{c});
    CHECK(warnings.size() == 1);
    store.put(a);
    CHECK(store.all().size() == 2);
}

TEST_CASE("every flipped bit of a result is found, and every cut; nesting costs no stack") {
    const TuningRecord one = record("a", 1.5, "one");
    const std::string good = encode_tuning(one);
    const auto decoded = [](const std::string& text) -> std::optional<TuningRecord> {
        try {
            return decode_tuning(std::as_bytes(std::span(text)));
        } catch (const CacheError&) {
            return std::nullopt;
        }
    };
    for (size_t bit = 0; bit < good.size() * 8; ++bit) {
        std::string bad = good;
        bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
        const auto read = decoded(bad);
        CAPTURE(bit);
        CHECK((!read || *read == one));  // a space may become a line break
    }
    for (size_t length = 0; length + 2 < good.size(); ++length)
        CHECK_FALSE(decoded(good.substr(0, length)));
    CHECK_FALSE(decoded(std::string(100'000, '[')));
    CHECK_FALSE(
        decoded("{\"point\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}"));
}

TEST_CASE("what many processes find for one key at a time is all kept") {
    const TestFolder folder;
    const fs::path path = folder.path() / "cache";
    { TuningStore(CacheFolder({.folder = path})); }
    std::vector<pid_t> children;
    for (int box = 0; box < 8; ++box)
        children.push_back(start_child([&] {
            const CacheFolder cache({.folder = path});
            return TuningStore(cache).put(record("a", 1 + box, std::to_string(box))) ? 0 : 1;
        }));
    for (const pid_t child : children) CHECK(wait_for_child(child) == 0);
    const CacheFolder cache({.folder = path});
    REQUIRE(TuningStore(cache).all().size() == 1);
    CHECK(TuningStore(cache).all()[0].us == 1);
    CHECK(TuningStore(cache).all()[0].also.size() == 7);
}

TEST_CASE("a bundle that is not trusted gives no results") {
    const TestFolder folder;
    const CacheFolder from({.folder = folder.path() / "from"});
    TuningStore(from).put(record("a", 1, "x"));
    export_bundle(from, {}, folder.path() / "unsigned.htb");
    std::vector<std::string> warnings;
    const CacheFolder cache({.layers = {folder.path() / "unsigned.htb"},
                             .trust = {.required = true},
                             .warn = [&](const std::string& w) { warnings.push_back(w); }});
    CHECK(TuningStore(cache).all().empty());
    CHECK(warnings.size() == 1);
}

TEST_CASE("results survive the loss of the index") {
    const TestFolder folder;
    const fs::path path = folder.path() / "cache";
    { TuningStore(CacheFolder({.folder = path})); }
    {
        const CacheFolder cache({.folder = path});
        TuningStore(cache).put(record("a", 1, "x"));
    }
    fs::remove(path / "index.db");
    const CacheFolder cache({.folder = path});
    CHECK(TuningStore(cache).all().size() == 1);
}

TEST_CASE("bundles carry results; as a layer and when imported the best of all boxes wins") {
    const TestFolder folder;
    const auto bundle_of = [&](const char* name, const TuningRecord& r) {
        const CacheFolder cache({.folder = folder.path() / name});
        TuningStore(cache).put(r);
        const fs::path bundle = folder.path() / (std::string(name) + ".htb");
        CHECK(export_bundle(cache, {}, bundle).tunings == 1);
        CHECK(export_bundle(cache, {.archs = {"sm_90"}}, folder.path() / "none.htb").tunings == 0);
        return bundle;
    };
    const fs::path slow = bundle_of("slow", record("a", 3, "slow box")),
                   fast = bundle_of("fast", record("a", 1, "fast box"));

    const CacheFolder layered(
        {.folder = folder.path() / "mine", .layers = {slow, fast, folder.path() / "slow"}});
    REQUIRE(TuningStore(layered).all().size() == 1);
    CHECK(TuningStore(layered).all()[0].us == 1);

    CacheFolder target({.folder = folder.path() / "target"});
    for (const fs::path& bundle : {fast, slow, fast})
        CHECK(import_bundle(target, Bundle(bundle)).tunings == 1);
    REQUIRE(TuningStore(target).all().size() == 1);
    CHECK(TuningStore(target).all()[0].us == 1);
    CHECK(TuningStore(target).all()[0].also == std::vector<NamedValues>{{{"box", "slow box"}}});
    // The same content gives the same bytes.
    const auto bytes = [](const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    export_bundle(CacheFolder({.folder = folder.path() / "fast"}), {}, folder.path() / "again.htb");
    CHECK(bytes(folder.path() / "again.htb") == bytes(fast));
}

TEST_CASE("a folder that cannot be written keeps nothing, and says so by its answer") {
    const TestFolder folder;
    const CacheFolder cache({.folder = folder.path(), .read_only = true});
    TuningStore store(cache);
    CHECK_FALSE(store.put(record("a", 1, "x")));
    CHECK(store.all().empty());
    CHECK(store.remove({record("a", 1, "x").key}) == 0);
}

}  // namespace
}  // namespace hetune
