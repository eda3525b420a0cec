// What f35a233 stored (tests/cache/f35a233), read by this hetune: each thing is a miss, is carried
// over, or is left out with one line. The table is in docs/cache.md.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cache/code_store.h"
#include "cache/maintenance.h"
#include "cache/object_file.h"
#include "cache/recipe.h"
#include "cache/tile_store.h"
#include "cache/transfer.h"
#include "cache/tuning_store.h"
#include "planner/plan/arch.h"
#include "runtime/compile/compiler_facts.h"
#include "runtime/engine/recipes.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

const fs::path kStored = HETUNE_TEST_F35A233;
const CacheKey kKernel = *CacheKey::from_hex("a32adba67c14c68711f647a9d53c2b24");
const CacheKey kFormerFacts[] = {*CacheKey::from_hex("ffe61e6916c212193c2612fa86fe31e6"),
                                 *CacheKey::from_hex("f1db1732e6ef6100cd902f1c1edf733d"),
                                 *CacheKey::from_hex("7cf608164495d4e36a07585f18609613")};
const CacheKey kTinyModel = *CacheKey::from_hex("7707f04f8c50afac508760c31e4a43e6");
constexpr const char* kOldLayout = "rows32-1";
constexpr const char* kTuning = "tunings/7d0a32eb8b269382bfbce142f46795c9.json";
constexpr const char* kLeftOut =
    " is left out, and so is every tuning like it: it has format 1, this hetune reads 2; `hetune "
    "autotune` measures anew, `hetune cache gc` removes what is older";

std::string text_of(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

// A copy of f35a233's cache folder and bundles, and what is said about them.
struct OldCache {
    OldCache() {
        for (const char* name : {"folder", "kernels.htb", "signed.htb"})
            fs::copy(kStored / name, place.path() / name, fs::copy_options::recursive);
        for (const auto& entry : fs::recursive_directory_iterator(place.path()))
            fs::permissions(entry.path(), fs::perms::group_write | fs::perms::others_write,
                            fs::perm_options::remove);
    }
    CacheOptions options() {
        return {.folder = place.path() / "folder", .warn = warnings.function()};
    }
    // A new cache with one of the bundles as its layer.
    CacheOptions layered(const char* bundle = "kernels.htb") {
        return {.folder = place.path() / "new",
                .layers = {place.path() / bundle},
                .warn = warnings.function()};
    }

    const TestFolder place;
    Warnings warnings;
};

TEST_CASE("the index of f35a233 is carried over: its rows, its counters, and no model's identity") {
    OldCache old;
    CacheFolder folder(old.options());
    CHECK(list_objects(folder).size() == 4);
    CHECK(total_objects(folder).objects == 4);
    folder.with_index([](Index& index) {
        CHECK(index.counters().at("stored") == 153);
        CHECK(index.integrity_problem().empty());
        // The row of its models names the device as well, and a file has no such text any more.
        CHECK(index.model("65024:5309403:4461408:1795777487.683996966:1795777487.683996966;") ==
              kTinyModel);
        CHECK_FALSE(
            index.model("5309403:4461408:1795777487.683996966:1795777487.683996966;").has_value());
    });
    CHECK(old.warnings.list().empty());
}

TEST_CASE("a code object of f35a233 is carried over: the key is of all that made it") {
    OldCache old;
    CodeStore store(old.options());
    const auto code = store.find(kKernel);
    REQUIRE(code.has_value());
    CHECK(code->entry == "take_row");
    CHECK(code->bytes.size() > 1000);
    CHECK(old.warnings.list().empty());
}

TEST_CASE("certificates, counts and refusals of f35a233 are objects, not facts: nobody asks them") {
    OldCache old;
    CacheFolder folder(old.options());
    CHECK(fact_files(folder.readable()).empty());
    for (const ObjectRow& row : list_objects(folder))
        CHECK(is_former_fact(row.parts) == (row.key != kKernel));
    const Transferred done = export_bundle(folder, {}, old.place.path() / "again.htb");
    CHECK(done.objects == 1);
    CHECK(done.other_format == std::size(kFormerFacts));
    CHECK_FALSE(CodeStore(old.options()).find_other_build({{"compiler", "clang"}}).has_value());
}

TEST_CASE("a tile pack of f35a233 is a miss without a word, and the next load writes its own") {
    OldCache old;
    TileStore store(old.options());
    const auto path =
        old.options().folder / "tiles" / kTinyModel.hex() / (std::string(kOldLayout) + ".tiles");
    CHECK(TilePack::open(path).state == TilePack::State::kOlder);
    CHECK_FALSE(store.open(kTinyModel, kOldLayout).has_value());
    CHECK(fs::exists(path));
    CHECK(store.open_or_begin(kTinyModel, kOldLayout, {{"t", 64}}).writer.has_value());
    CHECK(old.warnings.list().empty());
}

TEST_CASE("tunings of f35a233 are left out with one line, which says what to do") {
    OldCache old;
    const CacheFolder folder(old.options());
    TuningStore store(folder);
    CHECK(store.all().empty());
    CHECK(old.warnings.list() ==
          std::vector{"cache: " + (folder.readable() / kTuning).string() + kLeftOut});
    const std::string text = text_of(folder.readable() / kTuning);
    CHECK_THROWS_WITH_AS(decode_tuning(std::as_bytes(std::span(text))),
                         "it has format 1, this hetune reads 2", OtherFormat);
}

TEST_CASE("recipes of f35a233 are carried over: same id, and replayed by this planner") {
    OldCache old;
    const auto recipes = list_recipes(old.options().folder);
    REQUIRE(recipes.size() == 1);
    CHECK(recipes[0].id().starts_with("5ed933815b81"));
    CHECK(kernels_of_recipes(recipes, find_arch("gfx1100"), {}).size() >= 10);
    CHECK(record_recipe(old.options().folder, recipes[0]) == Recorded::kThere);
}

TEST_CASE("a recipe of a newer hetune is left alone") {
    OldCache old;
    const auto recipes = list_recipes(old.options().folder);
    REQUIRE(recipes.size() == 1);
    const auto path = old.options().folder / "recipes" / recipes[0].id();
    std::string text = text_of(path);
    text.replace(text.find("\"recipe\":1"), 10, "\"recipe\":2");
    std::ofstream(path) << text;
    CHECK(record_recipe(old.options().folder, recipes[0]) == Recorded::kThere);
    CHECK(text_of(path) == text);
    CacheFolder folder(old.options());
    CHECK(verify_cache(folder, true).strange == std::vector{path.string()});
}

TEST_CASE("verify names what f35a233 left, gc removes that and nothing else") {
    OldCache old;
    CacheFolder folder(old.options());
    const VerifyReport report = verify_cache(folder, true);
    CHECK(report.clean());
    CHECK(report.objects == 1);
    CHECK(report.recipes == 1);
    CHECK(report.strange.empty());
    CHECK(report.older.size() == std::size(kFormerFacts) + 2);  // and a pack, and a tuning
    const Removed removed = remove_older(folder);
    CHECK(removed.objects == std::size(kFormerFacts));
    CHECK(removed.pack_bytes > 0);
    CHECK(removed.texts == 1);
    CHECK(total_objects(folder).objects == 1);
    const VerifyReport after = verify_cache(folder, false);
    CHECK(after.older.empty());
    CHECK(after.rows_without_file == 0);
    CHECK(after.objects == 1);
    CHECK(after.recipes == 1);
    CHECK(TuningStore(folder).all().empty());
    CHECK(old.warnings.list().empty());
}

TEST_CASE(
    "a bundle of f35a233 serves its kernels, its tiles are a miss, its tunings are left out") {
    OldCache old;
    CodeStore store(old.layered());
    CHECK(store.find(kKernel).has_value());
    CHECK_FALSE(TileStore(old.layered()).open(kTinyModel, kOldLayout).has_value());
    CHECK(old.warnings.list().empty());
    const CacheFolder folder(old.layered());
    CHECK(TuningStore(folder).all().empty());
    CHECK(
        old.warnings.list() ==
        std::vector{"cache: " + (old.place.path() / "kernels.htb" / kTuning).string() + kLeftOut});
}

TEST_CASE("an import from a bundle of f35a233 takes what is carried over and counts the rest") {
    OldCache old;
    CacheFolder folder({.folder = old.place.path() / "new", .warn = old.warnings.function()});
    const Transferred done = import_bundle(folder, Bundle(old.place.path() / "kernels.htb"));
    CHECK(done.objects == 1);
    CHECK(done.packs == 0);
    CHECK(done.tunings == 0);
    CHECK(done.other_format == std::size(kFormerFacts) + 2);
    const VerifyReport report = verify_cache(folder, false);
    CHECK(report.clean());
    CHECK(report.older.empty());
}

TEST_CASE("a signature of f35a233 holds, for its key alone") {
    OldCache old;
    Trust trust = parse_trust((kStored / "farm.key.pub").string());
    REQUIRE(trust.keys.size() == 1);
    CHECK(Bundle(old.place.path() / "signed.htb", trust).signer() == trust.keys[0]);
    CHECK_THROWS_AS(Bundle(old.place.path() / "kernels.htb", trust), CacheError);
    trust.keys = {SigningKey::generate().public_key()};
    CHECK_THROWS_AS(Bundle(old.place.path() / "signed.htb", trust), CacheError);
}

TEST_CASE("facts about compilers of f35a233 are a miss, and give way to today's") {
    OldCache old;
    const fs::path folder = old.options().folder;
    const fs::path library = "/usr/local/cuda/lib64/libnvrtc.so.13";
    REQUIRE(text_of(folder / "compilers.json").find(library.string()) != std::string::npos);
    CHECK_FALSE(find_facts(folder, library).has_value());
    keep_facts(folder, "/lib/a.so", {.version = "1", .identity = "a", .files = {}, .archs = {}});
    CHECK(find_facts(folder, "/lib/a.so").has_value());
    CHECK(text_of(folder / "compilers.json").find(library.string()) == std::string::npos);
}

}  // namespace
}  // namespace hetune
