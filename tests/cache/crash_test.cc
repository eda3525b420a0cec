// kill -9 at random moments: writers, evictors, importers, migrators and tile writers at once on
// one folder. After each round nothing on disk is damaged and every byte served is right.
//
// HETUNE_CRASH_ROUNDS and HETUNE_CRASH_SEED change the length and the course.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>

#include <chrono>
#include <fstream>
#include <random>
#include <thread>

#include "cache/code_store.h"
#include "cache/maintenance.h"
#include "cache/tile_store.h"
#include "cache/transfer.h"
#include "tests/cache/child_process.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

constexpr int kKeys = 40;
constexpr int kBundleKeys = 10;
constexpr int kProcesses = 3;
constexpr int kMaxLifeUs = 25000;

using Random = std::mt19937;

CodeObject object_of(int number) {
    CodeObject code = sample_object(number, 100 + static_cast<size_t>(number) * 97);
    code.compile_ms = 0;  // as bundles have it
    return code;
}

int any(Random& random, int below) { return std::uniform_int_distribution(0, below - 1)(random); }

int environment_or(const char* name, int otherwise) {
    const char* value = getenv(name);
    return value == nullptr ? otherwise : atoi(value);
}

[[noreturn]] void write_and_read(const CacheOptions& options, Random& random) {
    for (;;) {
        CodeStore store(options);
        for (int i = 0; i < 20; ++i) {
            const int number = any(random, kKeys);
            if (any(random, 2) == 0)
                store.put(sample_key(number), object_of(number), sample_parts(number));
            const auto code = store.get_or_make(sample_key(number), sample_parts(number),
                                                [&] { return object_of(number); });
            if (code != object_of(number)) _exit(1);
        }
    }
}

[[noreturn]] void import(const std::filesystem::path& folder, const std::filesystem::path& bundle) {
    for (;;) {
        CacheFolder cache({.folder = folder});
        import_bundle(cache, Bundle(bundle));
        evict_objects(cache, 0);
    }
}

std::byte tile_byte(size_t tensor, size_t i) {
    return static_cast<std::byte>(tensor * 50 + i % 97);
}

bool right_tiles(const TilePack& pack) {
    for (size_t t = 0; t < pack.entries().size(); ++t) {
        const auto bytes = pack.tensor(pack.entries()[t].name);
        for (size_t i = 0; i < bytes.size(); ++i)
            if (bytes[i] != tile_byte(t, i)) return false;
    }
    return true;
}

[[noreturn]] void write_tiles(const std::filesystem::path& folder) {
    TileStore store({.folder = folder});
    for (;;) {
        if (auto writer =
                store.open_or_begin({1, 1}, "l", {{"a", 60000}, {"b", 3}, {"c", 9000}}).writer) {
            for (const size_t t : {0, 1, 2}) {
                if (writer->finished(t)) continue;
                const auto bytes = writer->tensor(t);
                for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = tile_byte(t, i);
                writer->finish_tensor(t, {});
            }
            if (!writer->commit()) _exit(2);
        }
        const auto pack = store.open({1, 1}, "l");
        if (pack && !right_tiles(*pack)) _exit(3);
        store.discard({1, 1}, "l");
    }
}

// Is killed, or ends itself on the first wrong byte.
[[noreturn]] void work(const std::filesystem::path& folder, const std::filesystem::path& bundle,
                       unsigned seed) {
    Random random(seed);
    switch (any(random, 5)) {
        case 0:
            write_tiles(folder);
        case 1:
            import(folder, bundle);
        case 2:
            write_and_read({.folder = folder, .max_bytes = 20000}, random);
        default:
            write_and_read({.folder = folder}, random);
    }
}

// Now and then an index to be migrated or made again.
void disturb_index(const std::filesystem::path& folder, Random& random) {
    const int what = any(random, 10);
    if (what == 0)
        for (const char* name : {"index.db", "index.db-wal", "index.db-shm"})
            std::filesystem::remove(folder / name);
    if (what == 1)
        Database(folder / "index.db", 1000)
            .execute(
                "DROP TABLE IF EXISTS claims; DROP TABLE IF EXISTS models; "
                "PRAGMA user_version = 1");
    if (what == 2) std::ofstream(folder / "index.db", std::ios::trunc) << "no database";
}

TEST_CASE("kill -9 at any moment damages nothing and never makes a wrong byte be served") {
    TestFolder place;
    const auto folder = place.path() / "cache";
    const auto bundle = place.path() / "kernels.htb";
    {
        const auto source = place.path() / "source";
        CodeStore store({.folder = source});
        for (int i = 0; i < kBundleKeys; ++i)
            store.put(sample_key(i), object_of(i), sample_parts(i));
        export_bundle(CacheFolder({.folder = source}), {}, bundle);
    }
    const int rounds = environment_or("HETUNE_CRASH_ROUNDS", 200);
    const int seed = environment_or("HETUNE_CRASH_SEED", 1);
    Random random(static_cast<unsigned>(seed));
    int killed = 0;
    uint64_t found = 0;
    for (int round = 0; round < rounds; ++round) {
        CAPTURE(round);
        CAPTURE(seed);
        std::vector<pid_t> children;
        for (int p = 0; p < kProcesses; ++p)
            children.push_back(start_child([&]() -> int { work(folder, bundle, random() + p); }));
        random.discard(kProcesses);
        for (const pid_t child : children) {
            std::this_thread::sleep_for(std::chrono::microseconds(any(random, kMaxLifeUs)));
            kill(child, SIGKILL);
            const int status = wait_for_child(child);
            REQUIRE(status == 128 + SIGKILL);  // 1 to 3: it was served a wrong byte
            ++killed;
        }
        CacheFolder cache({.folder = folder});
        const VerifyReport report = verify_cache(cache, true);
        REQUIRE(report.damaged.empty());
        REQUIRE(report.index_problem.empty());
        REQUIRE(verify_cache(cache, false).clean());
        CodeStore store({.folder = folder});
        for (int i = 0; i < kKeys; ++i) {
            const auto code = store.find(sample_key(i));
            if (!code) continue;
            REQUIRE(*code == object_of(i));
            ++found;
        }
        if (const auto pack = TileStore({.folder = folder}).open({1, 1}, "l"))
            REQUIRE(right_tiles(*pack));
        disturb_index(folder, random);
    }
    CHECK(killed == rounds * kProcesses);
    CHECK(found > static_cast<uint64_t>(rounds));  // the rounds did not only look at an empty cache
    MESSAGE(fmt::format("{} processes killed, {} objects right", killed, found));
}

}  // namespace
}  // namespace hetune
