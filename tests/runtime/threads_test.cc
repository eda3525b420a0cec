// Many threads on one Model. Also built with ThreadSanitizer.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "runtime/api/hetune.h"

namespace hetune {
namespace {

using Tokens = std::vector<int32_t>;

const Model& model() {
    static const Model loaded(std::string(HETUNE_TEST_MODELS) + "/tiny-Q4_K_M.gguf",
                              {.backend = "reference", .context = 64, .most_waiting = 4});
    return loaded;
}

TEST_CASE("threads with a sequence each get the tokens they get alone, or are told to wait") {
    const GenerateOptions options{.max_tokens = 4, .ignore_end = true};
    std::vector<Tokens> wanted;
    for (int32_t t = 0; t < 6; ++t)
        wanted.push_back(model().open().generate(Tokens{5, 17, t}, options).tokens);
    std::atomic<int> wrong = 0, refused = 0;
    std::vector<std::thread> threads;
    for (int32_t t = 0; t < 6; ++t)
        threads.emplace_back([&, t] {
            for (int round = 0; round < 2;) try {
                    Sequence text = model().open();
                    wrong += text.generate(Tokens{5, 17, t}, options).tokens != wanted[t];
                    ++round;
                } catch (const Overloaded&) {
                    ++refused;
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
    CHECK(refused > 0);  // six are more than most_waiting
}

TEST_CASE("any thread cancels a call; the sequence goes on from what is there") {
    Sequence text = model().open();
    for (int round = 0; round < 4; ++round) {
        text.reset();
        std::thread other([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(5 * round));
            text.cancel();
        });
        const Generated made = text.generate(Tokens{5, 17, 300, 42}, {.max_tokens = 6});
        other.join();
        CHECK((made.stop == Stop::kCancelled || made.tokens.size() == 6));
    }
    text.cancel();  // nothing is in progress
    text.reset();
    CHECK(text.generate(Tokens{5}, {.max_tokens = 2, .ignore_end = true}).tokens.size() == 2);
}

TEST_CASE(
    "a prompt that another thread cancels throws CallCancelled, and stays as far as it went") {
    Sequence text = model().open();
    std::atomic<bool> ends = false;
    std::thread other([&] {
        while (!ends) {
            text.cancel();
            std::this_thread::yield();
        }
    });
    const Tokens prompt(50, 17);  // two steps
    for (bool cancelled = false; !cancelled; text.reset()) {
        try {
            text.append(prompt);
        } catch (const CallCancelled&) {
            cancelled = true;
            CHECK(text.tokens().size() < prompt.size());
        }
    }
    ends = true;
    other.join();
}

TEST_CASE("two calls of one sequence at the same time: the second is refused") {
    Sequence text = model().open();
    std::atomic<bool> refused = false;
    text.generate(Tokens{5, 17}, {.max_tokens = 8, .ignore_end = true}, [&](std::string_view) {
        std::thread other([&] {
            try {
                text.append(Tokens{7});
            } catch (const RequestError&) {
                refused = true;
            }
        });
        other.join();
        return false;
    });
    CHECK(refused);
}

TEST_CASE("a callback may use the model, and a sequence outlives it") {
    std::optional<Model> own(model());
    Sequence text = own->open();
    own.reset();
    size_t inner = 0;
    text.generate(Tokens{5, 17}, {.max_tokens = 4, .ignore_end = true}, [&](std::string_view) {
        inner += model().open().generate(Tokens{9}, {.max_tokens = 1}).tokens.size();
        return true;
    });
    CHECK(inner > 0);
}

}  // namespace
}  // namespace hetune
