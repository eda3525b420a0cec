// What a hit of the cache costs: look-up, read and check of one of 10,000 objects of 16 KiB in
// random order, in a cache whose index has a million rows; also a look-up of a row, a miss, the
// opening of a store, and writing and reading tile packs.
//
//   cache_bench [FOLDER]    a folder on the disk to be measured; default: a temporary one
//
// The cache (10,000 files, 990,000 rows more) is made once, before the first benchmark.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "cache/code_store.h"
#include "cache/object_file.h"
#include "cache/tile_store.h"

namespace hetune {
namespace {

constexpr int kObjects = 10'000;
constexpr int kRows = 1'000'000;
constexpr size_t kObjectBytes = 16384;
constexpr uint64_t kPackBytes = 1ull << 30;
constexpr size_t kPackTensors = 64;

std::filesystem::path folder;

CacheKey key_of(int number) {
    return make_key({std::to_string(number), "-O3", "gfx1100", "bench"});
}

KeyParts parts_of(int number) {
    return {{"template", fmt::format("kernel_{}", number % 40)},
            {"arch", "gfx1100"},
            {"constant kRows", std::to_string(number)},
            {"compiler", "clang version 19.1.4"}};
}

CodeObject object_of(int number) {
    CodeObject code;
    code.entry = "kernel";
    code.compile_ms = 70;
    code.bytes.resize(kObjectBytes);
    std::mt19937 random(static_cast<unsigned>(number));
    std::ranges::generate(code.bytes, [&] { return static_cast<std::byte>(random()); });
    return code;
}

CacheOptions options() { return {.folder = folder, .max_bytes = UINT64_MAX / 2}; }

void make_cache() {
    const CacheFolder cache(options());  // makes the folders and the schema
    for (int i = 0; i < kObjects; ++i) {
        const auto path = object_path(folder, key_of(i));
        const auto bytes = encode_object(key_of(i), object_of(i), parts_of(i));
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
    }
    Database database(folder / "index.db", 1000);
    Statement add = database.prepare(
        "INSERT INTO objects (key, bytes, compile_ms, kernel, parts, created, used) "
        "VALUES (?1, ?2, 70, ?3, ?4, 1700000000, 1700000000)");
    Transaction transaction(database);
    for (int i = 0; i < kRows; ++i) {
        const KeyParts parts = parts_of(i);
        add.run(key_of(i).hex(), kObjectBytes + 300, parts.at("template"),
                nlohmann::json(parts).dump());
    }
    transaction.commit();
}

// The keys in an order that no prefetcher guesses.
std::vector<CacheKey> shuffled(int first, int count) {
    std::vector<CacheKey> keys;
    for (int i = 0; i < count; ++i) keys.push_back(key_of(first + i));
    std::ranges::shuffle(keys, std::mt19937(5));
    return keys;
}

CodeStore& shared_store() {
    static CodeStore store(options());
    return store;
}

void hit(benchmark::State& state) {
    CodeStore& store = shared_store();
    const auto keys = shuffled(0, kObjects);
    size_t at = static_cast<size_t>(state.thread_index()) * 1000;
    for (auto _ : state) {
        const auto code = store.find(keys[at++ % keys.size()]);
        if (!code || code->bytes.size() != kObjectBytes) state.SkipWithError("a miss");
    }
}
BENCHMARK(hit)->Unit(benchmark::kMicrosecond)->ThreadRange(1, 4)->UseRealTime();

// Each look-up by itself, for the median.
void hit_latency(benchmark::State& state) {
    CodeStore& store = shared_store();
    const auto keys = shuffled(0, kObjects);
    std::vector<double> microseconds;
    for (auto _ : state)
        for (const CacheKey& key : keys) {
            const auto start = std::chrono::steady_clock::now();
            benchmark::DoNotOptimize(store.find(key));
            const std::chrono::duration<double, std::micro> took =
                std::chrono::steady_clock::now() - start;
            microseconds.push_back(took.count());
        }
    std::ranges::sort(microseconds);
    state.counters["median_us"] = microseconds[microseconds.size() / 2];
    state.counters["p99_us"] = microseconds[microseconds.size() * 99 / 100];
}
BENCHMARK(hit_latency)->Unit(benchmark::kMillisecond)->Iterations(10);

void miss(benchmark::State& state) {
    CodeStore& store = shared_store();
    const auto keys = shuffled(kRows, kObjects);
    size_t at = 0;
    for (auto _ : state) benchmark::DoNotOptimize(store.find(keys[at++ % keys.size()]));
}
BENCHMARK(miss)->Unit(benchmark::kMicrosecond);

// What `hetune run` needs of a 40-layer model: a few dozen distinct kernels, in a new process.
void open_and_resolve_plan(benchmark::State& state) {
    const auto keys = shuffled(0, 48);
    for (auto _ : state) {
        CodeStore store(options());
        for (const CacheKey& key : keys)
            if (!store.find(key)) state.SkipWithError("a miss");
    }
}
BENCHMARK(open_and_resolve_plan)->Unit(benchmark::kMillisecond);

void resolve_plan(benchmark::State& state) {
    const auto keys = shuffled(0, 48);
    for (auto _ : state)
        for (const CacheKey& key : keys)
            if (!shared_store().find(key)) state.SkipWithError("a miss");
}
BENCHMARK(resolve_plan)->Unit(benchmark::kMillisecond);

void put(benchmark::State& state) {
    int number = 2 * kRows;
    const CodeObject code = object_of(1);
    for (auto _ : state) {
        shared_store().put(key_of(number), code, parts_of(number));
        ++number;
    }
}
BENCHMARK(put)->Unit(benchmark::kMillisecond)->Iterations(200);

void write_tiles(benchmark::State& state) {
    const std::vector<std::byte> source(kPackBytes / kPackTensors, std::byte{3});
    std::vector<TileWriter::Tensor> tensors;
    for (size_t i = 0; i < kPackTensors; ++i)
        tensors.push_back({fmt::format("tensor {}", i), source.size()});
    TileStore store(options());
    uint64_t model = 0;
    for (auto _ : state) {
        auto writer = store.open_or_begin({7, ++model}, "bench", tensors).writer;
        if (!writer) {
            state.SkipWithError("no room");
            break;
        }
        for (size_t i = 0; i < kPackTensors; ++i) {
            writer->write(i, 0, source);
            writer->finish_tensor(i, {});
        }
        if (state.range(0) == 1) writer->commit();
        writer.reset();
        state.PauseTiming();
        std::filesystem::remove_all(folder / "tiles" / CacheKey{7, model}.hex());
        state.ResumeTiming();
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * kPackBytes));
}
// The argument: whether to commit, which waits for the disk.
BENCHMARK(write_tiles)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->Iterations(2);

}  // namespace
}  // namespace hetune

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    std::string temporary = std::filesystem::temp_directory_path() / "cache_bench.XXXXXX";
    const bool given = argc > 1;
    hetune::folder = given ? argv[1] : mkdtemp(temporary.data());
    hetune::make_cache();
    benchmark::RunSpecifiedBenchmarks();
    if (!given) std::filesystem::remove_all(hetune::folder);
}
