// Whatever was appended, generated, cut back, cancelled and forked, and in which order, a sequence
// goes on as a fresh one with the same tokens does.
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <thread>

#include "runtime/api/hetune.h"
#include "runtime/oracle/logits_distance.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/random_program.h"

namespace hetune {
namespace {

using testing::Program, testing::Tokens;

enum class Reuse { kNone, kExact, kAll };

Model load(const std::string& name, const char* backend, Reuse reuse, int parallel = 1) {
    setenv("HETUNE_CACHE_DIR", run_store().c_str(), 1);
    // Steps of 8 and two copies of the state, so that cuts go through steps and behind copies.
    return Model(kModels + "/" + name + "-Q4_K_M.gguf", {.backend = backend,
                                                         .context = 64,
                                                         .parallel = parallel,
                                                         .prefill_rows = 8,
                                                         .all_logits = true,
                                                         .state_snapshots = 2,
                                                         .prefix_cache = reuse != Reuse::kNone,
                                                         .exact_prefix = reuse == Reuse::kExact});
}

// $HETUNE_TEST_BACKEND, as for the tests of kernels: "cuda" on a machine with a GPU.
const char* compiled_backend() {
    const char* chosen = std::getenv("HETUNE_TEST_BACKEND");
    return chosen != nullptr ? chosen : "cpu";
}

struct Counts {
    int programs = 0, tokens = 0, taken_over = 0;
    double max_kl = 0;
};

// `count` programs of each model and engine, from seed `first` on.
Counts check_programs(int first, int on_cpu, int on_oracle) {
    Counts counts;
    for (const std::string name : {"tiny", "mini35"})
        for (const auto& [backend, count] :
             {std::pair(compiled_backend(), on_cpu), std::pair("reference", on_oracle)}) {
            const Model model = load(name, backend, Reuse::kExact);
            const Model other = load(name, backend, Reuse::kNone);
            double worst = 0;
            for (int i = first; i < first + count; ++i, ++counts.programs) {
                CAPTURE(name);
                CAPTURE(backend);
                CAPTURE(i);
                Program program(model, static_cast<uint32_t>(i));
                program.run(5);
                program.make_room(8);
                Sequence fresh = program.fresh(other);
                const Tokens whole = program.held();
                REQUIRE(whole == Tokens(fresh.tokens().begin(), fresh.tokens().end()));
                counts.tokens += static_cast<int>(whole.size());
                const Tokens probe = {7, 300, 41};
                const GenerateOptions draw{.max_tokens = 3,
                                           .sampling = {.temperature = 0.8, .seed = 5},
                                           .ignore_end = true};
                const std::vector<float> logits = program.text().logits(probe);
                CHECK(logits == fresh.logits(probe));
                CHECK(program.text().generate(Tokens{9}, draw).tokens ==
                      fresh.generate(Tokens{9}, draw).tokens);
                if (i % 4 != 0) continue;
                // The same tokens as one prompt: other kernels, and other chunks.
                Sequence prompt = other.open();
                prompt.append(whole);
                const auto distance =
                    compare_logits(prompt.logits(probe), logits, model.info().vocabulary);
                worst = std::max(worst, distance.max_kl);
            }
            MESSAGE(name, " on ", std::string(backend), ": as one prompt, KL of at most ", worst);
            // At most 2.7e-4 in 200 programs on an H200 (docs/testing.md); an expert that is
            // chosen otherwise costs more.
            CHECK(worst < 0.02);
        }
    return counts;
}

TEST_CASE("a sequence goes on bit for bit as a fresh one, behind 24 random programs") {
    CHECK(check_programs(1000, 8, 4).tokens > 400);
}

// `count` programs at the same time on one model, which has memory for `parallel` of them. Each is
// then compared with a fresh sequence of its tokens, which has the model for itself.
Counts check_together(const std::string& name, Reuse reuse, int parallel, int count, int first) {
    const Model model = load(name, compiled_backend(), reuse, parallel);
    const Model other = load(name, compiled_backend(), Reuse::kNone);
    std::vector<std::unique_ptr<Program>> programs;
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        programs.push_back(std::make_unique<Program>(model, static_cast<uint32_t>(first + i)));
    for (const auto& program : programs) threads.emplace_back([&program] { program->run(6); });
    for (std::thread& thread : threads) thread.join();
    Counts counts;
    CAPTURE(name);
    CAPTURE(parallel);
    for (const auto& program : programs) {
        const int which = first++;
        CAPTURE(which);
        program->make_room(4);
        Sequence fresh = program->fresh(other);
        const Tokens probe = {7, 300, 41};
        CHECK(program->held() == Tokens(fresh.tokens().begin(), fresh.tokens().end()));
        const std::vector<float> logits = program->text().logits(probe),
                                 wanted = fresh.logits(probe);
        if (reuse == Reuse::kExact) CHECK(logits == wanted);
        counts.max_kl =
            std::max(counts.max_kl, compare_logits(wanted, logits, model.info().vocabulary).max_kl);
        counts.tokens += static_cast<int>(program->held().size());
        counts.taken_over += static_cast<int>(program->taken_over());
    }
    return counts;
}

TEST_CASE("programs that share their steps leave what each leaves alone, bit for bit") {
    for (const std::string name : {"tiny", "mini35"}) {
        Counts all;
        for (const auto& [parallel, count, first] : {std::array{2, 5, 100}, {16, 16, 300}}) {
            const Counts counts = check_together(name, Reuse::kExact, parallel, count, first);
            all.tokens += counts.tokens;
            all.taken_over += counts.taken_over;
        }
        CHECK(all.tokens > 200);
        MESSAGE(name, ": ", all.taken_over, " tokens taken over");
        CHECK(all.taken_over > 20);
    }
}

TEST_CASE("programs that take over what decoding made, or other steps, leave nearly the same") {
    for (const std::string name : {"tiny", "mini35"}) {
        const Counts counts = check_together(name, Reuse::kAll, 2, 8, 400);
        MESSAGE(name, ": ", counts.taken_over, " tokens taken over, KL of at most ", counts.max_kl);
        CHECK(counts.taken_over > 10);
        CHECK(counts.max_kl < 0.02);
    }
}

TEST_CASE("200 random programs") {
    const Counts counts = check_programs(0, 70, 30);
    CHECK(counts.programs == 200);
    CHECK(counts.tokens > 4000);
}

}  // namespace
}  // namespace hetune
