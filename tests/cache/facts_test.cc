#include "cache/facts.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "cache/code_store.h"
#include "cache/error.h"
#include "cache/maintenance.h"
#include "cache/transfer.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

FactKey key_of(const std::string& version = "1", const std::string& kind = "certificate") {
    return {.kind = kind,
            .object = {1, 2},
            .arch = "gfx1100",
            .device = "hip: driver 6",
            .version = version,
            .about = "rows 3"};
}

Fact good(const std::string& value, const FactKey& key = key_of()) {
    return {.key = key, .kernel = "gemv", .good = true, .value = value};
}
Fact bad(const std::string& value, const FactKey& key = key_of()) {
    return {.key = key, .kernel = "gemv", .good = false, .value = value};
}

std::string value_in(CodeStore& store, const FactKey& key = key_of()) {
    const auto fact = store.facts().find(key);
    return fact ? fact->value : "none";
}

TEST_CASE("A fact is found under all parts of its key, and under no other") {
    const TestFolder folder;
    CodeStore store({.folder = folder.path()});
    store.facts().put(good("{\"a\":1}"));
    CHECK(value_in(store) == "{\"a\":1}");
    for (std::string FactKey::*part :
         {&FactKey::kind, &FactKey::arch, &FactKey::device, &FactKey::version, &FactKey::about}) {
        FactKey other = key_of();
        other.*part += "x";
        CHECK(value_in(store, other) == "none");
    }
    FactKey other = key_of();
    other.object.low = 3;
    CHECK(value_in(store, other) == "none");
}

TEST_CASE("The newest of two facts is true, and the machine's own goes before a layer's") {
    const TestFolder layer, folder;
    {
        CodeStore store({.folder = layer.path()});
        store.facts().put(good("{\"from\":\"layer\"}"));
    }
    CodeStore store({.folder = folder.path(), .layers = {layer.path()}});
    CHECK(value_in(store) == "{\"from\":\"layer\"}");
    store.facts().put(bad("{\"from\":\"here\"}"));
    CHECK(value_in(store) == "{\"from\":\"here\"}");
    store.facts().put(good("{\"from\":\"later\"}"));
    CHECK(value_in(store) == "{\"from\":\"later\"}");
    CodeStore again({.folder = folder.path(), .layers = {layer.path()}});
    CHECK(value_in(again) == "{\"from\":\"later\"}");
}

TEST_CASE("A failure in a layer or a bundle is none of this machine's") {
    const TestFolder layer, folder;
    {
        CodeStore store({.folder = layer.path()});
        store.facts().put(bad("{\"failure\":\"wrong\"}"));
        store.facts().put(good("{\"fine\":1}", key_of("2")));
    }
    CodeStore store({.folder = folder.path() / "cache", .layers = {layer.path()}});
    CHECK(value_in(store) == "none");
    CHECK(value_in(store, key_of("2")) == "{\"fine\":1}");

    const fs::path bundle = folder.path() / "facts.htb";
    CHECK(export_bundle(CacheFolder(CacheOptions{.folder = layer.path()}), {}, bundle).facts == 1);
    CodeStore with_bundle({.layers = {bundle}});
    CHECK(value_in(with_bundle) == "none");
    CHECK(value_in(with_bundle, key_of("2")) == "{\"fine\":1}");

    CacheFolder target(CacheOptions{.folder = folder.path() / "target"});
    CHECK(import_bundle(target, Bundle(bundle)).facts == 1);
    CHECK(import_bundle(target, Bundle(bundle)).present == 1);
    CodeStore imported({.folder = folder.path() / "target"});
    CHECK(value_in(imported, key_of("2")) == "{\"fine\":1}");
}

TEST_CASE("An import that tells of a failure is refused, and a fact of one's own stays") {
    const TestFolder folder;
    const fs::path bundle = folder.path() / "bad.htb";
    BundleWriter writer(bundle);
    writer.add_fact(fact_name(key_of().hash()), encode_fact(bad("{}")));
    writer.commit();
    CacheFolder target(CacheOptions{.folder = folder.path() / "cache"});
    CHECK_THROWS_WITH_AS(import_bundle(target, Bundle(bundle)), doctest::Contains("failure"),
                         CacheError);
    {
        CodeStore store({.folder = folder.path() / "cache"});
        CHECK(value_in(store) == "none");
        store.facts().put(bad("{\"own\":1}"));
    }
    const fs::path fine = folder.path() / "fine.htb";
    BundleWriter other(fine);
    other.add_fact(fact_name(key_of().hash()), encode_fact(good("{}")));
    other.commit();
    CHECK(import_bundle(target, Bundle(fine)).present == 1);
    CodeStore store({.folder = folder.path() / "cache"});
    CHECK(value_in(store) == "{\"own\":1}");
}

TEST_CASE("A damaged fact is unknown, verify names it, and repair removes it") {
    const TestFolder folder;
    CodeStore store({.folder = folder.path()});
    store.facts().put(good("{\"a\":1}"));
    store.facts().put(good("{\"a\":2}", key_of("2")));
    const fs::path path = folder.path() / fact_name(key_of().hash());
    std::string text(fs::file_size(path), '\0');
    std::ifstream(path).read(text.data(), static_cast<std::streamsize>(text.size()));
    for (size_t i = 0; i < text.size(); i += 3) {
        std::string flipped = text;
        flipped[i] = static_cast<char>(flipped[i] ^ 4);
        std::ofstream(path) << flipped;
        const std::string value = value_in(store);
        CHECK((value == "none" || value == "{\"a\":1}"));
    }
    for (const std::string& other :
         {std::string(), text.substr(0, text.size() / 2), std::string(100'000, '['),
          encode_fact(good("{\"a\":2}", key_of("2")))}) {
        std::ofstream(path) << other;
        CHECK(value_in(store) == "none");
    }
    CacheFolder opened(CacheOptions{.folder = folder.path()});
    VerifyReport report = verify_cache(opened, false);
    CHECK(report.facts == 1);
    CHECK(report.damaged == std::vector<std::string>{path.string()});
    CHECK(verify_cache(opened, true).damaged.size() == 1);
    CHECK(verify_cache(opened, false).clean());
    clear_cache(opened);
    CHECK(fact_files(folder.path()).empty());
}

// A fact whose checksum is right and whose value is no JSON: nothing that hetune writes.
std::string resealed(const std::string& value) {
    std::string text = encode_fact(good("{}"));
    text = text.substr(0, text.find("{}")) + value;
    const std::string whole = text + "}";
    return text + ",\"check\":\"" + content_hash(whole.data(), whole.size()).hex() + "\"}\n";
}

TEST_CASE("A value that is no JSON under a right checksum is damage to all but who looks it up") {
    const TestFolder folder;
    CodeStore store({.folder = folder.path()});
    store.facts().put(good("{\"a\":1}"));
    const fs::path path = folder.path() / fact_name(key_of().hash());
    CHECK_NOTHROW(decode_fact(resealed("{\"a\":[1,2]}")));
    for (const std::string value : {"{\"a\":", "[1]", "7", "{\"a\":1},\"value\":{}", "nonsense"}) {
        CAPTURE(value);
        std::ofstream(path) << resealed(value);
        CHECK_THROWS_AS(decode_fact(resealed(value)), CacheError);
        CacheFolder opened(CacheOptions{.folder = folder.path()});
        CHECK(verify_cache(opened, false).damaged == std::vector<std::string>{path.string()});
        CHECK(export_bundle(opened, {}, folder.path() / "out.htb").facts == 0);
    }
    CHECK_FALSE(is_whole(*store.facts().find(key_of())));
}

TEST_CASE("A fact of a newer hetune is no damage, and is left alone") {
    const TestFolder folder;
    CodeStore store({.folder = folder.path()});
    store.facts().put(good("{\"a\":1}"));
    const fs::path path = folder.path() / fact_name(key_of().hash());
    std::string text = encode_fact(good("{\"a\":1}"));
    text.replace(text.find("\"fact\":1"), 8, "\"fact\":2");
    std::ofstream(path) << text;
    CHECK(value_in(store) == "none");
    CHECK_THROWS_AS(decode_fact(text), OtherFormat);
    CacheFolder opened(CacheOptions{.folder = folder.path()});
    CHECK(verify_cache(opened, true).strange == std::vector<std::string>{path.string()});
    CHECK(fs::exists(path));
}

TEST_CASE("Facts are no code objects: neither the list nor the counters know of them") {
    const TestFolder folder;
    {
        CodeStore store({.folder = folder.path()});
        store.facts().put(good("{\"a\":1}"));
        CHECK(value_in(store, key_of("other")) == "none");
        CHECK(store.statistics().misses == 0);
        CHECK_FALSE(store.wants_recipes());
    }
    CacheFolder opened(CacheOptions{.folder = folder.path()});
    CHECK(list_objects(opened).empty());
}

TEST_CASE("Without a folder facts are kept in memory, and the oldest go beyond a number") {
    CodeStore store{CacheOptions{}};
    store.facts().put(good("{\"a\":1}"));
    CHECK(value_in(store) == "{\"a\":1}");
    store.facts().forget(key_of());
    CHECK(value_in(store) == "none");

    const TestFolder folder;
    CodeStore on_disk({.folder = folder.path()});
    for (int i = 0; i < 6; ++i) {
        const FactKey key = key_of(std::to_string(i));
        on_disk.facts().put(good("{}", key));
        fs::last_write_time(folder.path() / fact_name(key.hash()),
                            fs::file_time_type(std::chrono::hours(i)));
    }
    CHECK(drop_oldest_facts(folder.path(), 4) == 2);
    CHECK(value_in(on_disk, key_of("1")) == "none");
    CHECK(value_in(on_disk, key_of("2")) == "{}");
}

}  // namespace
}  // namespace hetune
