#include "cache/maintenance.h"

#include <doctest/doctest.h>

#include <fstream>

#include "cache/code_store.h"
#include "cache/explain.h"
#include "cache/tile_store.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

void fill(const std::filesystem::path& folder, int first, int last, size_t bytes = 300) {
    CodeStore store({.folder = folder});
    for (int i = first; i < last; ++i)
        store.put(sample_key(i), sample_object(i, bytes), sample_parts(i));
}

void set_used(const std::filesystem::path& folder, int number, int64_t time) {
    Database(folder / "index.db", 1000)
        .prepare("UPDATE objects SET used = ?2 WHERE key = ?1")
        .run(sample_key(number).hex(), time);
}

bool has_file(const std::filesystem::path& folder, int number) {
    return std::filesystem::exists(object_path(folder, sample_key(number)));
}

TEST_CASE("A store beyond its limit drops the objects longest unused") {
    TestFolder folder;
    fill(folder.path(), 0, 10, 10000);
    for (int i = 0; i < 10; ++i) set_used(folder.path(), i, 1000 + (i * 7) % 10);
    CodeStore store({.folder = folder.path(), .max_bytes = 100000});
    CHECK(store.find(sample_key(0)).has_value());  // the oldest by its row, but in use today
    store.put(sample_key(10), sample_object(10, 10000), sample_parts(10));
    int left = 0;
    for (int i = 0; i <= 10; ++i) left += has_file(folder.path(), i);
    CHECK(left == 8);  // 90 of 100 KB
    CHECK(has_file(folder.path(), 0));
    CHECK(has_file(folder.path(), 10));
    CHECK_FALSE(has_file(folder.path(), 3));  // used at 1001
    CHECK_FALSE(has_file(folder.path(), 6));  // at 1002
    CHECK_FALSE(has_file(folder.path(), 9));  // at 1003
    CHECK(store.find(sample_key(10)) == sample_object(10, 10000));
}

TEST_CASE("Objects not used for long are evicted by age, whatever their size") {
    TestFolder folder;
    fill(folder.path(), 0, 4);
    set_used(folder.path(), 1, std::time(nullptr) - 5000);
    set_used(folder.path(), 2, std::time(nullptr) - 50);
    CacheFolder cache({.folder = folder.path()});
    const Removed removed = evict_objects(cache, UINT64_MAX, 1000);
    CHECK(removed.objects == 1);
    CHECK_FALSE(has_file(folder.path(), 1));
    CHECK(has_file(folder.path(), 2));
    CHECK(evict_objects(cache, 0).objects == 3);
}

TEST_CASE("A hit writes nothing; the time of last use is written when the store is closed") {
    TestFolder folder;
    fill(folder.path(), 0, 2);
    set_used(folder.path(), 0, 1000);
    set_used(folder.path(), 1, 1000);
    const auto used = [&](int number) {
        for (const ObjectRow& row : Index::open(folder.path(), true, {})->objects())
            if (row.key == sample_key(number)) return row.used;
        return int64_t{-1};
    };
    {
        CodeStore store({.folder = folder.path()});
        store.find(sample_key(0));
        CHECK(used(0) == 1000);
    }
    CHECK(used(0) > std::time(nullptr) - 100);
    CHECK(used(1) == 1000);
}

TEST_CASE("A time of last use that a busy index did not take is written by the next flush") {
    using namespace std::chrono_literals;
    TestFolder folder;
    fill(folder.path(), 0, 1);
    set_used(folder.path(), 0, 1000);
    const auto used = [&] { return Index::open(folder.path(), true, {})->objects().at(0).used; };
    CodeStore store({.folder = folder.path(), .index_pause = 0ms});
    store.find(sample_key(0));
    {
        Database other(folder.path() / "index.db", 0);
        other.execute("BEGIN IMMEDIATE");
        CHECK_FALSE(store.flush());
        other.execute("ROLLBACK");
    }
    CHECK(used() == 1000);
    CHECK(store.flush());
    CHECK(used() > std::time(nullptr) - 100);
}

TEST_CASE("verify finds what is damaged, lost or unknown, and repair removes only that") {
    TestFolder folder;
    fill(folder.path(), 0, 6);
    {
        TileStore tiles({.folder = folder.path()});
        for (uint64_t model = 1; model <= 2; ++model) {
            auto writer = tiles.open_or_begin({model, 0}, "l", {{"t", 100}}).writer;
            writer->finish_tensor(0, {});
            writer->commit();
        }
    }
    CacheFolder cache({.folder = folder.path()});
    CHECK(verify_cache(cache, false).clean());

    std::ofstream(object_path(folder.path(), sample_key(1)), std::ios::app) << "x";
    std::filesystem::remove(object_path(folder.path(), sample_key(2)));
    cache.with_index([](Index& index) { index.remove(sample_key(3)); });
    std::ofstream(object_path(folder.path(), sample_key(4)).parent_path() / "notes") << "mine";
    const auto pack = folder.path() / "tiles" / CacheKey{1, 0}.hex() / "l.tiles";
    std::fstream file(pack, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 + 50);
    file << 'x';
    file.close();

    for (const bool repair : {false, true}) {
        const VerifyReport report = verify_cache(cache, repair);
        CHECK(report.objects == 4);
        CHECK(report.packs == 1);
        CHECK(report.damaged.size() == 2);
        CHECK(report.strange.size() == 1);
        // The first look mends what killed writers leave; then a damaged object goes.
        CHECK(report.rows_without_file == 1);
        CHECK(report.files_without_row == (repair ? 0 : 1));
        CHECK(report.index_problem.empty());
        CHECK_FALSE(report.clean());
    }
    CHECK(verify_cache(cache, false).clean());
    CHECK_FALSE(std::filesystem::exists(pack));
    for (const int good : {0, 3, 4, 5})
        CHECK(CodeStore({.folder = folder.path()}).find(sample_key(good)) == sample_object(good));
}

TEST_CASE("What a killed import, put or eviction leaves is no damage, and is mended by a look") {
    TestFolder folder;
    fill(folder.path(), 0, 3);
    CacheFolder cache({.folder = folder.path()});
    cache.with_index([](Index& index) { index.remove(sample_key(0)); });  // no row yet
    std::filesystem::remove(object_path(folder.path(), sample_key(1)));   // no file any more
    const VerifyReport report = verify_cache(cache, false);
    CHECK(report.clean());
    CHECK(report.files_without_row == 1);
    CHECK(report.rows_without_file == 1);
    const VerifyReport again = verify_cache(cache, false);
    CHECK(again.objects == 2);
    CHECK(again.files_without_row + again.rows_without_file == 0);
}

TEST_CASE("An index that was waited for in vain is left alone for a while") {
    TestFolder folder;
    CacheFolder cache({.folder = folder.path()});
    Database other(folder.path() / "index.db", 1000);
    const Transaction writing(other);
    int asked = 0;
    for (int i = 0; i < 3; ++i)
        CHECK_FALSE(cache.with_index([&](Index& index) {
            ++asked;
            index.remove(sample_key(9));
        }));
    CHECK(asked == 1);
}

TEST_CASE("clear removes objects and packs and leaves a usable cache") {
    TestFolder folder;
    fill(folder.path(), 0, 3);
    CacheFolder cache({.folder = folder.path()});
    CHECK(clear_cache(cache).objects == 3);
    CHECK(verify_cache(cache, false).clean());
    fill(folder.path(), 0, 1);
    CHECK(verify_cache(cache, false).objects == 1);
}

TEST_CASE("A miss is explained by the difference to the nearest key stored before") {
    TestFolder folder;
    {
        CodeStore store({.folder = folder.path()});
        store.put(sample_key(1), sample_object(1),
                  {{"template", "gemv"}, {"kRows", "64"}, {"compiler", "clang 19"}});
        store.put(sample_key(2), sample_object(2),
                  {{"template", "gemv"}, {"kRows", "32"}, {"compiler", "clang 18"}});
        store.put(sample_key(3), sample_object(3), {{"template", "norm"}});
    }
    const auto rows = Index::open(folder.path(), true, {})->objects("gemv");
    REQUIRE(rows.size() == 2);
    const auto reason = explain_miss(
        {{"template", "gemv"}, {"kRows", "32"}, {"compiler", "clang 19"}, {"new", "1"}}, rows);
    REQUIRE(reason.has_value());
    CHECK(reason->nearest.key == sample_key(2));
    CHECK(reason->differences ==
          std::vector<PartDifference>{{"compiler", "clang 18", "clang 19"}, {"new", "", "1"}});
    CHECK_FALSE(explain_miss({{"template", "none"}}, {}).has_value());
}

}  // namespace
}  // namespace hetune
