// The memory of several sequences: what it is, what fits, and that each finds its own in a KV cache
// of any type.
#include "runtime/load/memory.h"

#include <doctest/doctest.h>

#include <thread>

#include "planner/plan/kv_type.h"
#include "runtime/api/hetune.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

const MemoryNeeds kNeeds = {.weights = 1000,
                            .kv_per_token = 1,
                            .state = 80,
                            .snapshots = 160,
                            .checkpoints = 100,
                            .scratch = 50,
                            .code = 10,
                            .context = 100,
                            .sequences = 8};

TEST_CASE("pages for a context are whole ones, for each sequence") {
    CHECK(kNeeds.kv() == 8 * 128);
    CHECK(kNeeds.total() == 1000 + 8 * 128 + 80 + 160 + 100 + 50 + 10);
}

TEST_CASE("the largest context and the largest number of sequences fit, and no more does") {
    for (int64_t limit = 1000; limit < kNeeds.total(); ++limit) {
        MemoryNeeds other = kNeeds;
        if ((other.context = largest_context(kNeeds, limit)) > 0) CHECK(other.total() <= limit);
        other.context += 64;
        CHECK(other.total() > limit);

        other = kNeeds;
        other.sequences = largest_parallel(kNeeds, limit);
        const auto set = [&] {
            other.state = 10 * other.sequences;
            other.snapshots = 20 * other.sequences;
        };
        set();
        if (other.sequences > 0) CHECK(other.total() <= limit);
        ++other.sequences;
        set();
        CHECK(other.total() > limit);
    }
    CHECK(largest_parallel(kNeeds, 1 << 20) == 8);
}

TEST_CASE("what does not fit is refused with the table and with what does") {
    CHECK_NOTHROW(check_memory(kNeeds, kNeeds.total(), "it"));
    CHECK_THROWS_WITH_AS(check_memory(kNeeds, kNeeds.total() - 1, "it"),
                         doctest::Contains("ModelOptions::context = 64"), MemoryError);
    CHECK_THROWS_WITH_AS(check_memory(kNeeds, kNeeds.total() - 1, "it"),
                         doctest::Contains("ModelOptions::parallel = 7"), MemoryError);
    CHECK_THROWS_WITH_AS(check_memory(kNeeds, kNeeds.total() - 1, "it"),
                         doctest::Contains("8 x 100 tokens"), MemoryError);
    // No context fits for so many, but fewer sequences do.
    CHECK(largest_context(kNeeds, 1500) == 0);
    CHECK_THROWS_WITH_AS(check_memory(kNeeds, 1500, "it"),
                         doctest::Contains("ModelOptions::parallel = 2"), MemoryError);
    CHECK_THROWS_WITH_AS(check_memory(kNeeds, 1100, "it"), doctest::Contains("any context"),
                         MemoryError);
    MemoryNeeds one = kNeeds;
    one.sequences = 1;
    CHECK_THROWS_WITH_AS(check_memory(one, 1100, "it"),
                         doctest::Contains("any context; take a smaller"), MemoryError);
}

std::vector<int32_t> words(int count, int seed) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < count; ++i) tokens.push_back((i * 37 + seed * 101 + 5) % 300);
    return tokens;
}

TEST_CASE("sequences at the same time get their own tokens from a KV cache of any type") {
    setenv("HETUNE_CACHE_DIR", run_store().c_str(), 1);
    const GenerateOptions options{.max_tokens = 12, .ignore_end = true};
    for (const std::string& type : kv_type_names()) {
        CAPTURE(type);
        const auto model = [&](int parallel) {
            return Model(kModels + "/tiny-Q4_K_M.gguf", {.backend = "cpu",
                                                         .context = 192,
                                                         .parallel = parallel,
                                                         .kv_type = type,
                                                         .prefix_cache = false});
        };
        const Model many = model(3), alone = model(1);
        std::vector<std::vector<int32_t>> got(5);
        std::vector<std::thread> threads;
        // Behind, at and before the end of a page; two of them wait for memory.
        const std::vector<int> lengths = {60, 128, 70, 3, 150};
        for (size_t i = 0; i < got.size(); ++i)
            threads.emplace_back([&, i] {
                got[i] =
                    many.open().generate(words(lengths[i], static_cast<int>(i)), options).tokens;
            });
        for (std::thread& thread : threads) thread.join();
        for (size_t i = 0; i < got.size(); ++i)
            CHECK(alone.open().generate(words(lengths[i], static_cast<int>(i)), options).tokens ==
                  got[i]);
    }
}

}  // namespace
}  // namespace hetune
