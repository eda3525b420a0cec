#include "cache/prompt_store.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "cache/temp_file.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

using Piece = std::vector<std::byte>;

CacheKey piece_key(uint64_t number) { return {number % 3, number}; }

Piece piece_of(uint64_t number, size_t bytes = 1000) {
    Piece piece(bytes);
    for (size_t i = 0; i < bytes; ++i) piece[i] = static_cast<std::byte>(number * 31 + i);
    return piece;
}

PromptStore::Time at(int64_t seconds) {
    return PromptStore::Time{std::chrono::seconds(1'700'000'000 + seconds)};
}

std::filesystem::path only_file(const std::filesystem::path& folder) {
    std::filesystem::path found;
    for (const auto& path : list_folder(folder))
        if (path.extension() == ".prompt") found = path;
    return found;
}

bool holds(PromptStore& store, uint64_t number) {
    const auto piece = store.find(piece_key(number));
    return piece && std::ranges::equal(piece->bytes(), piece_of(number));
}

TEST_CASE("PromptStore keeps pieces for the next process") {
    const TestFolder folder;
    {
        PromptStore store(folder.path() / "made", 1 << 20, {});
        CHECK(store.writable());
        CHECK(!store.has(piece_key(1)));
        for (uint64_t i = 1; i <= 4; ++i) store.put(piece_key(i), piece_of(i), at(0));
        CHECK(holds(store, 3));
    }
    struct stat info;
    REQUIRE(stat((folder.path() / "made").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
    PromptStore next(folder.path() / "made", 1 << 20, {});
    for (uint64_t i = 1; i <= 4; ++i) CHECK(holds(next, i));
    CHECK(!next.find(piece_key(5)));
    CHECK(next.has_any(1));
    CHECK(!next.has_any(7));
    CHECK(next.bytes() == 4 * (1000 + kPromptHeadBytes));
}

TEST_CASE("PromptStore: a piece that is damaged anywhere, cut or grown is a miss, and removed") {
    const TestFolder folder;
    PromptStore(folder.path(), 1 << 20, {}).put(piece_key(1), piece_of(1, 100), at(0));
    const auto path = only_file(folder.path());
    const auto good = read_file(path, 1 << 20).value();
    const auto misses = [&](const Piece& content) {
        std::ofstream(path, std::ios::binary | std::ios::trunc)
            .write(reinterpret_cast<const char*>(content.data()),
                   static_cast<std::streamsize>(content.size()));
        PromptStore store(folder.path(), 1 << 20, {});
        const bool missed = store.has(piece_key(1)) && !store.find(piece_key(1)) &&
                            !store.has(piece_key(1)) && store.bytes() == 0;
        return missed && !std::filesystem::exists(path);
    };
    for (size_t i = 0; i < good.size(); ++i) {
        CAPTURE(i);
        Piece changed = good;
        changed[i] ^= std::byte{1};
        CHECK(misses(changed));
        if (good[i] == std::byte{0}) continue;
        changed[i] = std::byte{0};
        CHECK(misses(changed));
    }
    for (size_t size = 0; size < good.size(); ++size)
        CHECK(misses(Piece(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size))));
    Piece grown = good;
    grown.push_back({});
    CHECK(misses(grown));
    CHECK(misses(Piece(good.size())));
    // A piece of another key under this name.
    Piece other;
    std::ranges::copy(encode_prompt_head(piece_key(2), piece_of(1, 100)),
                      std::back_inserter(other));
    std::ranges::copy(piece_of(1, 100), std::back_inserter(other));
    CHECK(misses(other));
}

TEST_CASE("PromptStore stays below its bytes; what was used longest ago goes first") {
    const TestFolder folder;
    const uint64_t each = 1000 + kPromptHeadBytes;
    PromptStore store(folder.path(), 10 * each, {});
    for (uint64_t i = 0; i < 10; ++i)
        store.put(piece_key(i), piece_of(i), at(static_cast<int64_t>(i)));
    CHECK(store.bytes() == 10 * each);
    CHECK(store.use(piece_key(0), at(20)));
    CHECK(!store.use(piece_key(0), at(20)));
    CHECK(!store.use(piece_key(77), at(20)));
    store.put(piece_key(10), piece_of(10), at(21));
    CHECK(store.bytes() == 9 * each);
    CHECK(holds(store, 0));
    CHECK(!store.has(piece_key(1)));
    CHECK(!store.has(piece_key(2)));
    CHECK(holds(store, 3));
    // A later process goes by the same times.
    PromptStore next(folder.path(), 3 * each, {});
    next.put(piece_key(11), piece_of(11), at(22));
    CHECK(holds(next, 11));
    CHECK(holds(next, 10));
    CHECK(next.bytes() == 2 * each);
    // A piece that is larger than all is not kept.
    next.put(piece_key(12), piece_of(12, 4000), at(23));
    CHECK(!next.has(piece_key(12)));
    CHECK(holds(next, 11));
}

TEST_CASE("PromptStore: two stores on one folder find each other's pieces and bear their loss") {
    const TestFolder folder;
    PromptStore first(folder.path(), 1 << 20, {});
    first.put(piece_key(1), piece_of(1), at(0));
    PromptStore second(folder.path(), 1 << 20, {});
    CHECK(holds(second, 1));
    second.put(piece_key(1), piece_of(1), at(1));
    second.put(piece_key(2), piece_of(2), at(1));
    first.put(piece_key(2), piece_of(2), at(2));  // the same bytes once more
    CHECK(holds(second, 2));
    // Another process makes room.
    std::filesystem::remove(only_file(folder.path()));
    std::filesystem::remove(only_file(folder.path()));
    for (PromptStore* store : {&first, &second})
        for (const uint64_t number : {1, 2}) CHECK(!holds(*store, number));
    CHECK(first.bytes() == 0);
}

TEST_CASE("PromptStore: a folder that cannot be used gives one warning and no error") {
    const TestFolder folder;
    std::vector<std::string> warnings;
    const auto warn = [&](const std::string& line) { warnings.push_back(line); };
    const auto file = folder.path() / "file";
    std::ofstream(file) << "text";
    PromptStore no_folder(file, 1 << 20, warn);
    CHECK(!no_folder.writable());
    no_folder.put(piece_key(1), piece_of(1), at(0));
    CHECK(!no_folder.find(piece_key(1)));
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].find("no folder") != std::string::npos);

    const auto open = folder.path() / "open";
    std::filesystem::create_directory(open);
    chmod(open.c_str(), 0777);
    CHECK(!PromptStore(open, 1 << 20, warn).writable());
    CHECK(warnings.size() == 2);

    // A later failure is said once, too.
    PromptStore lost(folder.path() / "lost", 1 << 20, warn);
    std::filesystem::remove_all(folder.path() / "lost");
    for (uint64_t i = 0; i < 3; ++i) lost.put(piece_key(i), piece_of(i), at(0));
    CHECK(!lost.writable());
    CHECK(!lost.has(piece_key(0)));
    CHECK(warnings.size() == 3);
}

TEST_CASE("PromptStore reads from a folder that it cannot write") {
    if (geteuid() == 0) return;  // may write everywhere
    const TestFolder folder;
    PromptStore(folder.path(), 1 << 20, {}).put(piece_key(1), piece_of(1), at(0));
    chmod(folder.path().c_str(), 0500);
    int warnings = 0;
    PromptStore store(folder.path(), 1 << 20, [&](const std::string&) { ++warnings; });
    CHECK(holds(store, 1));
    store.put(piece_key(2), piece_of(2), at(0));
    CHECK(!store.has(piece_key(2)));
    CHECK(warnings == 1);
    chmod(folder.path().c_str(), 0700);
}

TEST_CASE("PromptStore leaves files alone that are not its own") {
    const TestFolder folder;
    const auto mine = folder.path() / "letter.prompt";
    const auto old = folder.path() / "old";
    for (const auto& path : {mine, old}) std::ofstream(path) << "text";
    std::filesystem::last_write_time(
        old, std::filesystem::file_time_type::clock::now() - std::chrono::hours(1000));
    PromptStore store(folder.path(), 2000, {});
    for (uint64_t i = 0; i < 5; ++i)
        store.put(piece_key(i), piece_of(i), at(static_cast<int64_t>(i)));
    CHECK(std::filesystem::exists(mine));
    CHECK(std::filesystem::exists(old));
    CHECK(store.bytes() <= 2000);
}

}  // namespace
}  // namespace hetune
