#include "cache/index.h"

#include <doctest/doctest.h>

#include <fstream>
#include <random>

#include "cache/code_store.h"
#include "cache/maintenance.h"
#include "tests/cache/child_process.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

void fill(const std::filesystem::path& folder, int objects) {
    CodeStore store({.folder = folder});
    for (int i = 0; i < objects; ++i) store.put(sample_key(i), sample_object(i), sample_parts(i));
}

// Opens the store, which must find all objects, and returns what it said.
std::vector<std::string> reopen(const std::filesystem::path& folder, int objects) {
    Warnings warnings;
    {
        CodeStore store({.folder = folder, .warn = warnings.function()});
        for (int i = 0; i < objects; ++i) CHECK(store.find(sample_key(i)) == sample_object(i));
    }
    const auto index = Index::open(folder, true, {});
    REQUIRE(index);
    CHECK(index->object_count() == static_cast<uint64_t>(objects));
    CHECK(index->objects().size() == static_cast<size_t>(objects));
    for (const ObjectRow& row : index->objects()) {
        CHECK(row.kernel == "gemv");
        CHECK(row.parts.at("arch") == "gfx1100");
        CHECK(row.compile_ms == 70.5);
        CHECK(row.bytes == std::filesystem::file_size(object_path(folder, row.key)));
    }
    return warnings.list();
}

TEST_CASE("A lost index is made again from the objects") {
    TestFolder folder;
    fill(folder.path(), 10);
    for (const char* name : {"index.db", "index.db-wal", "index.db-shm"})
        std::filesystem::remove(folder.path() / name);
    CHECK(reopen(folder.path(), 10).empty());
}

TEST_CASE("An index that is no database is set aside with one warning and made again") {
    TestFolder folder;
    fill(folder.path(), 5);
    for (const std::string& content : {std::string(5000, 'x'), std::string("SQLite format 3")}) {
        std::ofstream(folder.path() / "index.db", std::ios::trunc) << content;
        CHECK(reopen(folder.path(), 5).size() == 1);
        CHECK(std::filesystem::exists(folder.path() / "index.db.aside"));
    }
}

TEST_CASE("An index of a newer version is set aside with one warning and made again") {
    TestFolder folder;
    fill(folder.path(), 5);
    Database(folder.path() / "index.db", 1000)
        .execute("PRAGMA user_version = 999; DROP TABLE objects; CREATE TABLE objects (x);");
    const auto said = reopen(folder.path(), 5);
    REQUIRE(said.size() == 1);
    CHECK(said[0].find("newer hetune") != std::string::npos);
}

TEST_CASE("A newer index that another process uses is left alone, and objects are found") {
    TestFolder folder;
    fill(folder.path(), 3);
    Database(folder.path() / "index.db", 1000).execute("PRAGMA user_version = 999");
    const FileHandle other = lock_index(folder.path());
    Warnings warnings;
    CodeStore store({.folder = folder.path(), .warn = warnings.function()});
    for (int i = 0; i < 3; ++i) CHECK(store.find(sample_key(i)) == sample_object(i));
    store.put(sample_key(3), sample_object(3), sample_parts(3));
    CHECK(store.find(sample_key(3)) == sample_object(3));
    CHECK(warnings.list().size() == 1);
    CHECK(Database(folder.path() / "index.db", 1000).integer("PRAGMA user_version") == 999);
}

TEST_CASE("An index of version 1 is migrated with its rows") {
    TestFolder folder;
    fill(folder.path(), 4);
    {
        Index::open(folder.path(), true, {})->count({{"hits", 12}});
        Database(folder.path() / "index.db", 1000)
            .execute("DROP TABLE claims; DROP TABLE models; PRAGMA user_version = 1");
    }
    CHECK(reopen(folder.path(), 4).empty());
    CHECK(Index::open(folder.path(), true, {})->counters().at("hits") == 16);
}

TEST_CASE(
    "A page of the index overwritten is noticed in use, and the next process makes it again") {
    TestFolder folder;
    fill(folder.path(), 200);
    Database(folder.path() / "index.db", 1000).execute("PRAGMA wal_checkpoint(TRUNCATE)");
    const auto path = folder.path() / "index.db";
    const auto pages = std::filesystem::file_size(path) / 4096;
    for (uint64_t page = 1; page < pages; ++page) {
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(page * 4096));
        file << std::string(4096, '\x7f');
    }
    CodeStore({.folder = folder.path()})
        .put(sample_key(200), sample_object(200), sample_parts(200));
    reopen(folder.path(), 201);
}

TEST_CASE("A byte of the index flipped anywhere never hides an object or makes it wrong") {
    TestFolder folder;
    constexpr int kObjects = 12;
    fill(folder.path(), kObjects);
    const auto path = folder.path() / "index.db";
    Database(path, 1000).execute("PRAGMA journal_mode = DELETE");  // all of it in one file
    const auto size = std::filesystem::file_size(path);
    std::mt19937 random(3);
    for (int flip = 0; flip < 150; ++flip) {
        CAPTURE(flip);
        // The first ones in the header, the others anywhere.
        const auto at = flip < 100 ? static_cast<uint64_t>(flip) : random() % size;
        CAPTURE(at);
        char byte = 0;
        {
            std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
            file.seekg(static_cast<std::streamoff>(at)).get(byte);
            file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(byte ^ 0x55));
        }
        CodeStore store({.folder = folder.path()});
        for (int i = 0; i < kObjects; ++i) REQUIRE(store.find(sample_key(i)) == sample_object(i));
        store.put(sample_key(flip % kObjects), sample_object(flip % kObjects), sample_parts(1));
    }
    CacheFolder cache({.folder = folder.path()});
    verify_cache(cache, true);
    CacheFolder later({.folder = folder.path()});
    CHECK(verify_cache(later, false).clean());
}

TEST_CASE("An object whose writer died before its row gets one when it is used") {
    TestFolder folder;
    TestFolder elsewhere;
    fill(folder.path(), 2);
    fill(elsewhere.path(), 3);
    std::filesystem::create_directories(object_path(folder.path(), sample_key(2)).parent_path());
    std::filesystem::copy_file(object_path(elsewhere.path(), sample_key(2)),
                               object_path(folder.path(), sample_key(2)));
    CHECK(Index::open(folder.path(), true, {})->object_count() == 2);
    CHECK(reopen(folder.path(), 3).empty());
}

TEST_CASE("Temporaries of dead writers go when a store is opened, those of live ones stay") {
    TestFolder folder;
    fill(folder.path(), 1);
    const auto stray = folder.path() / "tmp" / "write.stray";
    std::ofstream(stray) << "half a file";
    std::filesystem::last_write_time(
        stray, std::filesystem::file_time_type::clock::now() - std::chrono::minutes(5));
    TempFile live(folder.path() / "tmp");
    live.write({});
    for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "tmp"))
        std::filesystem::last_write_time(
            entry, std::filesystem::file_time_type::clock::now() - std::chrono::minutes(5));
    CodeStore store({.folder = folder.path()});
    CHECK_FALSE(std::filesystem::exists(stray));
    live.commit(folder.path() / "objects" / "live");
    CHECK(std::filesystem::exists(folder.path() / "objects" / "live"));
}

TEST_CASE("The counters of all processes add up") {
    TestFolder folder;
    fill(folder.path(), 3);
    std::vector<pid_t> children;
    for (int p = 0; p < 4; ++p)
        children.push_back(start_child([&] {
            CodeStore store({.folder = folder.path()});
            for (int i = 0; i < 4; ++i) store.find(sample_key(i));
            return 0;
        }));
    for (const pid_t child : children) CHECK(wait_for_child(child) == 0);
    const auto counters = Index::open(folder.path(), true, {})->counters();
    CHECK(counters.at("stored") == 3);
    CHECK(counters.at("hits") == 12);
    CHECK(counters.at("misses") == 4);
    CHECK(counters.at("saved_ms") == doctest::Approx(12 * 70.5));
}

}  // namespace
}  // namespace hetune
