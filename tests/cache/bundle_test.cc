#include "cache/bundle.h"

#include <doctest/doctest.h>
#include <sodium.h>
#include <sys/stat.h>
#include <zstd.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cache/code_store.h"
#include "cache/maintenance.h"
#include "cache/object_file.h"
#include "cache/tile_store.h"
#include "cache/transfer.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

constexpr CacheKey kModel{7, 7};

void fill(const std::filesystem::path& folder, int objects, double compile_ms = 1) {
    CodeStore store({.folder = folder});
    for (int i = objects - 1; i >= 0; --i) {
        CodeObject code = sample_object(i);
        code.compile_ms = compile_ms + i;
        store.put(sample_key(i), code, sample_parts(i));
    }
    TileStore tiles({.folder = folder});
    if (auto writer = tiles.open_or_begin(kModel, "l1", {{"a", 5000}, {"b", 9}}).writer) {
        std::ranges::fill(writer->tensor(0), std::byte{5});
        for (const size_t i : {0, 1}) writer->finish_tensor(i, {});
        writer->commit();
    }
}

Transferred export_to(const std::filesystem::path& folder, const std::filesystem::path& target,
                      const ExportSelection& selection = {.tiles = true}) {
    return export_bundle(CacheFolder({.folder = folder}), selection, target);
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

// A bundle without content whose manifest says whatever it likes, correctly hashed.
void write_forged(const std::filesystem::path& path, const std::vector<BundleMember>& members) {
    auto list = nlohmann::json::array();
    for (const BundleMember& member : members)
        list.push_back({{"path", member.path},
                        {"offset", member.offset},
                        {"stored", member.stored_bytes},
                        {"bytes", member.bytes},
                        {"blake2b", member.blake2b}});
    const std::string manifest = nlohmann::json{{"members", list}}.dump();
    std::string stored(ZSTD_compressBound(manifest.size()), 0);
    stored.resize(ZSTD_compress(stored.data(), stored.size(), manifest.data(), manifest.size(), 1));
    unsigned char hash[32];
    crypto_generichash(hash, sizeof(hash), reinterpret_cast<const unsigned char*>(stored.data()),
                       stored.size(), nullptr, 0);
    const uint64_t version = 1;
    const uint64_t place[3] = {16, stored.size(), manifest.size()};
    std::string file = "HTBUNDLE";
    file.append(reinterpret_cast<const char*>(&version), 8);
    file += stored;
    file.append(reinterpret_cast<const char*>(place), sizeof(place));
    file.append(reinterpret_cast<const char*>(hash), sizeof(hash));
    write_text(path, file + "HTBUNDLE");
}

CodeObject shipped(int number) {
    CodeObject code = sample_object(number);
    code.compile_ms = 0;
    return code;
}

TEST_CASE("A bundle imported elsewhere gives the same objects and packs") {
    TestFolder from;
    TestFolder to;
    fill(from.path(), 5);
    const auto bundle = to.path() / "kernels.htb";
    const Transferred out = export_to(from.path(), bundle);
    CHECK(out.objects == 5);
    CHECK(out.packs == 1);
    CacheFolder cache({.folder = to.path() / "cache"});
    const Transferred in = import_bundle(cache, Bundle(bundle));
    CHECK(in.objects == 5);
    CHECK(in.packs == 1);
    CHECK(import_bundle(cache, Bundle(bundle)).present == 6);
    CHECK(verify_cache(cache, false).clean());
    CodeStore store({.folder = to.path() / "cache"});
    for (int i = 0; i < 5; ++i) CHECK(store.find(sample_key(i)) == shipped(i));
    const auto pack = TileStore({.folder = to.path() / "cache"}).open(kModel, "l1");
    REQUIRE(pack.has_value());
    CHECK(pack->verify_all());
}

TEST_CASE("A bundle is a layer as it is, without being unpacked") {
    TestFolder from;
    TestFolder to;
    fill(from.path(), 5);
    const auto bundle = to.path() / "kernels.htb";
    export_to(from.path(), bundle);
    CodeStore store({.layers = {bundle}});
    for (int i = 0; i < 5; ++i) CHECK(store.find(sample_key(i)) == shipped(i));
    CHECK_FALSE(store.find(sample_key(5)).has_value());
    CHECK(store.statistics().places[0].hits == 5);
}

TEST_CASE("A tile pack is mapped where it lies in a bundle; a damaged one is passed over") {
    TestFolder from;
    TestFolder to;
    fill(from.path(), 1);
    const auto bundle = to.path() / "kernels.htb";
    export_to(from.path(), bundle);
    const BundleMember member = Bundle(bundle).members().back();
    REQUIRE_FALSE(member.is_object());
    {
        TileStore store({.folder = to.path() / "cache", .layers = {bundle}});
        const auto pack = store.open(kModel, "l1");
        REQUIRE(pack.has_value());
        CHECK(pack->verify_all());
        CHECK(pack->tensor("a")[4999] == std::byte{5});
        CHECK_FALSE(store.open(kModel, "l2").has_value());
        CHECK(list_tile_packs(to.path() / "cache").empty());
    }
    std::string bytes = read_text(bundle);
    bytes[member.offset + member.bytes - 4096] ^= 1;  // in a tensor
    write_text(bundle, bytes);
    Warnings warnings;
    TileStore store(
        {.folder = to.path() / "cache", .layers = {bundle}, .warn = warnings.function()});
    const auto damaged = store.open(kModel, "l1");
    REQUIRE(damaged.has_value());  // its head is good
    CHECK_FALSE(damaged->verify_all());
    store.discard(*damaged);
    CHECK_FALSE(store.open(kModel, "l1").has_value());
    CHECK(read_text(bundle) == bytes);
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("Equal kernels give equal bundles, whenever and how fast they were compiled") {
    TestFolder one;
    TestFolder two;
    fill(one.path(), 4, 10);
    fill(two.path(), 4, 99);
    export_to(one.path(), one.path() / "b");
    export_to(two.path(), two.path() / "b");
    CHECK(read_text(one.path() / "b") == read_text(two.path() / "b"));
}

TEST_CASE("Export takes only the archs asked for, and nothing that is damaged") {
    TestFolder folder;
    fill(folder.path(), 3);
    CodeStore({.folder = folder.path()})
        .put(sample_key(9), sample_object(9), {{"template", "gemv"}, {"arch", "gfx1151"}});
    CHECK(export_to(folder.path(), folder.path() / "b", {.archs = {"gfx1151"}}).objects == 1);
    write_text(object_path(folder.path(), sample_key(0)), "damaged");
    CHECK(export_to(folder.path(), folder.path() / "b", {.archs = {"gfx1100"}}).objects == 2);
}

TEST_CASE("Every flipped byte and every truncation of a bundle is found") {
    TestFolder folder;
    {
        CodeStore store({.folder = folder.path()});
        for (int i = 0; i < 2; ++i) store.put(sample_key(i), sample_object(i), sample_parts(i));
    }
    const auto path = folder.path() / "b";
    export_to(folder.path(), path);
    const std::string good = read_text(path);
    const auto wrong = [&](const std::string& content) {
        write_text(path, content);
        try {
            const Bundle bundle(path);
            for (const BundleMember& member : bundle.members()) bundle.read(member);
            return false;
        } catch (const CacheError&) {
            return true;
        }
    };
    CHECK_FALSE(wrong(good));
    for (size_t i = 0; i < good.size(); ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
        CAPTURE(i);
        REQUIRE(wrong(bad));
    }
    for (size_t length = 0; length < good.size(); ++length) REQUIRE(wrong(good.substr(0, length)));
}

TEST_CASE("A damaged member of a layer is a miss with one warning; the others are served") {
    TestFolder folder;
    fill(folder.path(), 3);
    const auto path = folder.path() / "b";
    export_to(folder.path(), path);
    const BundleMember member = *Bundle(path).find(object_name(sample_key(1)));
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(member.offset + member.stored_bytes / 2));
    file << "\xff\xfe";
    file.close();
    Warnings warnings;
    CodeStore store({.layers = {path}, .warn = warnings.function()});
    CHECK_FALSE(store.find(sample_key(1)).has_value());
    CHECK(store.find(sample_key(0)) == shipped(0));
    CHECK(store.find(sample_key(2)) == shipped(2));
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("A bundle that others can write to is no layer") {
    TestFolder folder;
    fill(folder.path(), 1);
    const auto path = folder.path() / "b";
    export_to(folder.path(), path);
    chmod(path.c_str(), 0666);
    Warnings warnings;
    CodeStore store({.layers = {path}, .warn = warnings.function()});
    CHECK_FALSE(store.find(sample_key(0)).has_value());
    CHECK(warnings.list().size() == 1);
}

TEST_CASE("Paths that leave the folder, bombs and members outside of the file are refused") {
    TestFolder folder;
    const auto path = folder.path() / "b";
    const std::string hash(64, '0');
    const std::string key = sample_key(1).hex();
    const std::string object = object_name(sample_key(1));
    const auto refused = [&](const BundleMember& member) {
        write_forged(path, {member});
        CHECK_THROWS_AS(Bundle(path).members(), CacheError);
    };
    write_forged(path, {{object, 16, 0, 0, hash}});
    CHECK(Bundle(path).members().size() == 1);
    const std::vector<std::string> names = {"../x",
                                            "/etc/passwd",
                                            "objects/../" + key,
                                            "objects/" + key,
                                            "objects/zz/" + key,
                                            object + "/x",
                                            "tiles/" + key + "/../x.tiles",
                                            "tiles/" + key + "/a/b.tiles",
                                            "tiles/" + key + "/.tiles",
                                            "index.db",
                                            ""};
    for (const std::string& name : names) refused({name, 16, 0, 0, hash});
    refused({object, 16, 0, 1 << 20, hash});  // a bomb
    refused({object, 16, 0, UINT64_MAX, hash});
    refused({object, 16, 1 << 20, 1 << 20, hash});  // behind the end
    refused({object, UINT64_MAX, 2, 2, hash});
    refused({object, 3, 0, 0, hash});  // in the head
    refused({"tiles/" + key + "/l.tiles", 16, 0, 5, hash});
}

}  // namespace
}  // namespace hetune
