// Embeddings: hidden states of the compiled model against the oracle's, and how they are pooled.
#include <doctest/doctest.h>

#include <cmath>
#include <thread>

#include "runtime/api/hetune.h"
#include "runtime/oracle/reference_engine.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

std::string path_of(const std::string& name) { return kModels + "/" + name + "-Q4_K_M.gguf"; }

Model load(const std::string& name, ModelOptions options = {}) {
    setenv("HETUNE_CACHE_DIR", run_store().c_str(), 1);
    if (options.backend.empty()) options.backend = "cpu";
    options.context = 64;
    options.prefill_rows = 8;  // so that a text takes several steps
    options.embeddings = true;
    return Model(path_of(name), options);
}

double cosine(std::span<const float> a, std::span<const float> b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        ab += static_cast<double>(a[i]) * b[i];
        aa += static_cast<double>(a[i]) * a[i];
        bb += static_cast<double>(b[i]) * b[i];
    }
    return ab / std::sqrt(aa * bb);
}

TEST_CASE(
    "the logits follow from the hidden states, of which an embedding is the mean or the last") {
    for (const std::string name : {"tiny", "mini35"}) {
        CAPTURE(name);
        const ModelFile file(path_of(name));
        const LayerGraph graph = build_layer_graph(file);
        ReferenceEngine oracle(file, graph, 64);
        const std::vector<int32_t> tokens = {32, 113, 424, 7, 99, 3, 200, 41, 77, 5, 6};
        oracle_logits(oracle, tokens);
        const auto states = oracle.value(graph.hidden_states);
        const auto width = static_cast<size_t>(graph.hidden);
        REQUIRE(states.size() == tokens.size() * width);
        std::vector<float> mean(width);
        for (size_t i = 0; i < width; ++i) {
            double sum = 0;
            for (size_t row = 0; row < tokens.size(); ++row) sum += states[row * width + i];
            mean[i] = static_cast<float>(sum / static_cast<double>(tokens.size()));
        }
        const auto last = states.last(width);

        const Model exact = load(name, {.backend = "reference"});
        CHECK(exact.info().embedding == graph.hidden);
        CHECK(exact.embed(tokens, Pooling::kMean, false) == mean);
        CHECK(exact.embed(tokens, Pooling::kLast, false) ==
              std::vector<float>(last.begin(), last.end()));
        CHECK(exact.embed(tokens) == exact.embed(tokens, Pooling::kLast));

        for (const bool floats : {true, false})
            for (const bool fusion : {true, false}) {
                CAPTURE(floats);
                CAPTURE(fusion);
                const Model compiled = load(name, {.fusion = fusion, .float_activations = floats});
                for (const Pooling pooling : {Pooling::kMean, Pooling::kLast}) {
                    const auto got = compiled.embed(tokens, pooling);
                    double length = 0;
                    for (const float v : got) length += static_cast<double>(v) * v;
                    CHECK(length == doctest::Approx(1).epsilon(1e-5));
                    const double away =
                        1 - cosine(got, pooling == Pooling::kMean ? std::span(mean) : last);
                    CHECK(away < (floats ? 1e-6 : 3e-3));
                }
            }
    }
}

TEST_CASE("embeddings beside answers leave both as they are alone") {
    const Model model = load("tiny", {.parallel = 2});
    const std::vector<int32_t> tokens = {32, 113, 424, 7, 99, 3, 200, 41, 77, 5, 6};
    const GenerateOptions draw{.max_tokens = 30, .ignore_end = true};
    const auto alone = model.embed(tokens);
    Sequence text = model.open();
    const auto answer = text.generate(tokens, draw).tokens;
    std::vector<std::vector<float>> vectors(6);
    std::vector<std::thread> threads;
    for (auto& vector : vectors) threads.emplace_back([&] { vector = model.embed(tokens); });
    Sequence again = model.open();
    const auto beside = again.generate(tokens, draw).tokens;
    for (std::thread& thread : threads) thread.join();
    CHECK(beside == answer);
    for (const auto& vector : vectors) CHECK(vector == alone);
}

TEST_CASE("embeddings that cannot be are refused") {
    const Model model = load("tiny", {.backend = "reference"});
    CHECK_THROWS_WITH_AS(model.embed(std::vector<int32_t>{}), "there are no tokens to embed",
                         RequestError);
    CHECK_THROWS_AS(model.embed(std::vector<int32_t>(65, 1)), ContextError);
    CHECK_THROWS_AS(model.embed(std::vector<int32_t>{-1}), RequestError);
    const Model without(path_of("tiny"), {.backend = "reference", .context = 64});
    CHECK_THROWS_WITH_AS(without.embed("a"), doctest::Contains("ModelOptions::embeddings"),
                         OptionError);
}

}  // namespace
}  // namespace hetune
