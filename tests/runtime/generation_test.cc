// Drawing tokens on the device: steps in flight, where it stops, and what that costs the host.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "tests/runtime/model_files.h"

namespace {
std::atomic<int64_t> allocations = 0;
}  // namespace

// Counts what this program takes from the heap.
void* operator new(size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace hetune {
namespace {

// With recurrent state, and without.
const std::string kFiles[] = {kModels + "/tiny-Q4_K_M.gguf", kModels + "/mini35-Q4_K_M.gguf"};

// Steps launched one at a time, and several wherever they may be: as one line of launches, or as a
// loop.
struct Bursts {
    double seconds;
    bool loops;
};
constexpr Bursts kBursts[] = {{0, false}, {1e9, false}, {1e9, true}};

LoadOptions options_of(int64_t context, const Bursts& bursts) {
    return {.context = context, .burst_seconds = bursts.seconds, .loops = bursts.loops};
}

std::vector<int32_t> draw(Solo& session, std::span<const int32_t> prompt, int64_t count,
                          const DrawLimit& limit) {
    std::vector<int32_t> drawn = {session.prompt(prompt, {}, limit)};
    while (static_cast<int64_t>(drawn.size()) < count) drawn.push_back(session.next());
    return drawn;
}

TEST_CASE(
    "a device that runs ahead draws the same tokens, stops behind an end, and can be stopped") {
    for (const std::string& file : kFiles)
        for (const Bursts& bursts : kBursts) {
            CAPTURE(file);
            CAPTURE(bursts.seconds);
            CAPTURE(bursts.loops);
            Loaded loaded(file, options_of(256, bursts));
            Solo& session = loaded.session;
            CHECK(std::ranges::any_of(session.certificates(), [](const CertifiedKernel& kernel) {
                      return kernel.spec.name == "repeat" && kernel.certificate.passed();
                  }) == bursts.loops);
            const std::vector<int32_t> prompt = {5, 17, 300, 42}, more = {7, 99};
            constexpr int64_t kCount = 40;
            const std::vector<int32_t> wanted = draw(session, prompt, kCount, {.draws = 0});
            const int32_t behind = session.prompt(more, {});
            const int64_t position = session.position();

            session.reset();
            CHECK(draw(session, prompt, kCount, {.draws = kCount}) == wanted);
            CHECK(session.position() == static_cast<int64_t>(prompt.size()) + kCount - 1);
            CHECK(session.prompt(more, {}) == behind);
            CHECK(session.position() == position);

            // The caller stops in the middle: what was drawn beyond is forgotten.
            session.reset();
            const auto part = draw(session, prompt, 5, {.draws = kCount});
            CHECK(std::equal(part.begin(), part.end(), wanted.begin()));
            const int32_t behind_part = session.prompt(more, {});
            session.reset();
            draw(session, prompt, 5, {.draws = 0});
            CHECK(session.prompt(more, {}) == behind_part);

            // An end token: the first one that was not drawn before.
            int64_t end = 1;
            while (std::find(wanted.begin(), wanted.begin() + end,
                             wanted[static_cast<size_t>(end)]) != wanted.begin() + end)
                ++end;
            const int32_t ends[] = {-1, wanted[static_cast<size_t>(end)]};
            session.reset();
            draw(session, prompt, end + 1, {.draws = 50, .ends = ends});
            const int32_t behind_end = session.prompt(more, {});
            session.reset();
            draw(session, prompt, end + 1, {.draws = 0});
            CHECK(session.prompt(more, {}) == behind_end);
        }
}

TEST_CASE("a device that runs ahead stays within the context") {
    for (const Bursts& bursts : kBursts) {
        Loaded loaded(kFiles[0], options_of(16, bursts));
        Solo& session = loaded.session;
        const std::vector<int32_t> prompt = {5, 17, 300, 42};
        draw(session, prompt, 13, {.draws = 1000});
        CHECK(session.room() == 0);
        CHECK_THROWS_AS(session.next(), std::runtime_error);
        session.reset();
        CHECK(draw(session, prompt, 5, {.draws = 5}).size() == 5);
    }
}

TEST_CASE("a start renders each kernel once, cold and warm") {
    for (int start = 0; start < 2; ++start) {
        Loaded loaded(kModels + "/mini35-Q4_K_M.gguf", {.context = 64, .all_logits = true});
        const ModelPlans plans = model_plans(loaded.session.graph(), loaded.file,
                                             loaded.device->arch(), loaded.session.options());
        const auto& made = loaded.library.statistics();
        CHECK(made.rendered == std::ssize(plans.kernels()));
        CHECK(made.cached + made.compiled == made.rendered);
    }
}

TEST_CASE("the memory of contexts has the bytes that were counted before, and one slot") {
    for (const std::string& file : kFiles) {
        CAPTURE(file);
        Loaded loaded(file, {.context = 64, .state_snapshots = 3});
        const MemoryNeeds& needs = loaded.session.model().memory();
        // Parts of the state begin at multiples of 256 bytes.
        const int64_t counted = needs.kv() + needs.state + needs.snapshots + needs.checkpoints;
        const int64_t taken = loaded.session.context_memory().bytes();
        CHECK(taken >= counted);
        CHECK(taken < counted + 256 * 8 * 8);
        ContextMemory memory(loaded.session.model());
        CHECK(memory.take() == 0);
        CHECK(memory.take() == -1);
        memory.give_back(0);
        CHECK(memory.take() == 0);
    }
}

TEST_CASE("drawing a token takes nothing from the heap") {
    for (const Bursts& bursts : kBursts) {
        Loaded loaded(kFiles[0], options_of(64, bursts));
        Solo& session = loaded.session;
        const std::vector<int32_t> prompt = {5, 17, 300, 42};
        draw(session, prompt, 4, {.draws = 40});  // captures the graphs
        const int64_t before = allocations;
        for (int i = 0; i < 30; ++i) session.next();
        CHECK(allocations == before);
    }
}

}  // namespace
}  // namespace hetune
