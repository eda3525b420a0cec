// A small random model of each architecture: the compiled engine against the oracle. Synthetic
// files of the models that people run: the headers they need, and llama.cpp's types.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "planner/make_plan.h"
#include "runtime/load/model_plans.h"
#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/quant_mix.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

std::string written(const ModelShape& shape, const SyntheticOptions& options) {
    const std::filesystem::path folder = HETUNE_BUILD_DIR "/test-models";
    std::filesystem::create_directories(folder);
    const std::string path = folder / fmt::format("{}-{}.gguf", shape.name, options.quant);
    write_synthetic(shape, options, path);
    return path;
}

TEST_CASE("every architecture gives the oracle's logits, in steps and token by token") {
    const std::vector<int32_t> tokens = some_tokens(40);
    for (const ModelShape& shape : small_models())
        for (const char* quant : {"F16", "Q4_K_M"}) {
            CAPTURE(shape.name);
            CAPTURE(quant);
            Loaded loaded(written(shape, {.quant = quant}), {.context = 64,
                                                             .prefill_rows = 16,
                                                             .activations = Activations::kFloat,
                                                             .kv = KvType::kF32,
                                                             .all_logits = true});
            ReferenceEngine oracle(loaded.file, build_layer_graph(loaded.file), 64);
            const std::vector<float> wanted = oracle_logits(oracle, tokens);
            CHECK(std::ranges::all_of(wanted, [](float v) { return std::isfinite(v); }));
            Solo& session = loaded.session;
            const auto steps =
                compare_logits(wanted, session.forward(tokens, true), shape.vocabulary);
            CHECK(steps.mean_kl < 1e-8);
            session.reset();
            const auto single =
                compare_logits(wanted, one_by_one(session, tokens), shape.vocabulary);
            CHECK(single.mean_kl < 1e-8);
        }
}

TEST_CASE("experts give the oracle's logits at any number of rows, sorted by expert and not") {
    const ModelShape shape = with_experts(small("qwen3moe"), 0);
    const std::vector<int32_t> tokens = some_tokens(64);
    const std::string path = written(shape, {.quant = "Q4_K_M"});
    std::vector<float> wanted;
    for (const int rows : {1, 2, 5, 8, 15, 16, 64}) {
        CAPTURE(rows);
        Loaded loaded(path, {.context = 64,
                             .prefill_rows = rows,
                             .activations = Activations::kFloat,
                             .kv = KvType::kF32,
                             .all_logits = true});
        if (wanted.empty()) {
            ReferenceEngine oracle(loaded.file, build_layer_graph(loaded.file), 64);
            wanted = oracle_logits(oracle, tokens);
        }
        const auto distance =
            compare_logits(wanted, loaded.session.forward(tokens, true), shape.vocabulary);
        CHECK(distance.mean_kl < 1e-8);
    }
}

TEST_CASE("8-bit activations cost every architecture little") {
    const std::vector<int32_t> tokens = some_tokens(40);
    for (ModelShape shape : small_models()) {
        CAPTURE(shape.name);
        shape.experts = shape.experts_used;  // or near ties of a random router flip
        Loaded loaded(written(shape, {.quant = "Q8_0"}),
                      {.context = 64, .prefill_rows = 16, .all_logits = true});
        ReferenceEngine oracle(loaded.file, build_layer_graph(loaded.file), 64);
        const auto distance = compare_logits(
            oracle_logits(oracle, tokens), loaded.session.forward(tokens, true), shape.vocabulary);
        CHECK(distance.mean_kl < 1.5e-3);
    }
}

TEST_CASE("layers of multi-token prediction are left out with a note") {
    ModelShape shape = with_delta_net(small("qwen35"));
    const ModelFile whole(written(shape, {.header_only = true}), ModelFile::Open::kHeaderOnly);
    shape.name = "qwen35-nextn";
    shape.predicting_layers = 1;
    const ModelFile file(written(shape, {.header_only = true}), ModelFile::Open::kHeaderOnly);
    const LayerGraph graph = build_layer_graph(file);
    CHECK(graph.layers == 4);
    CHECK(graph.ops == build_layer_graph(whole).ops);
    REQUIRE(graph.notes.size() == 1);
    CHECK(graph.notes[0] == "multi-token prediction (block 4 on) is left out");
}

TEST_CASE("experts whose rows are no whole tiles are refused by name") {
    ModelShape shape = with_experts(small("qwen3moe"), 0);
    shape.name = "odd-experts";
    shape.expert_inner = 240;
    const ModelFile file(written(shape, {.quant = "F16", .header_only = true}),
                         ModelFile::Open::kHeaderOnly);
    CHECK_THROWS_WITH_AS(make_plan(build_layer_graph(file), file, find_arch("gfx1100"), {}),
                         doctest::Contains("'blk.0.ffn_gate_exps.weight' has 240 rows per expert"),
                         ModelError);
}

TEST_CASE("a vocabulary too small for the sampler is refused before anything compiles") {
    ModelShape shape = small("qwen3");
    shape.name = "few-tokens";
    shape.vocabulary = 15;
    const ModelFile file(written(shape, {.quant = "F16", .header_only = true}),
                         ModelFile::Open::kHeaderOnly);
    CHECK_THROWS_WITH_AS(model_plans(build_layer_graph(file), file, find_arch("gfx1100"), {}),
                         doctest::Contains("a vocabulary of 15 tokens; hetune needs 16 or more"),
                         ModelError);
}

TEST_CASE("the header of every known model plans for decode and prefill") {
    for (const ModelShape& shape : known_shapes()) {
        CAPTURE(shape.name);
        const ModelFile file(written(shape, {.header_only = true}), ModelFile::Open::kHeaderOnly);
        const LayerGraph graph = build_layer_graph(file);
        for (const int rows : {1, 64}) {
            const Plan plan = make_plan(graph, file, find_arch("gfx1100"), {.rows = rows});
            const auto layers = static_cast<size_t>(shape.layers);
            const bool dense =
                graph.count<ops::Attention>() == shape.layers && graph.count<ops::Experts>() == 0;
            // Fused decode: one launch before the layers and one behind; of a layer five where it
            // is dense, and no more than seven elsewhere.
            if (rows == 1 && dense)
                CHECK(plan.steps.size() == 5 * layers + 2);
            else if (rows == 1)
                CHECK(plan.steps.size() <= 7 * layers + 2);
            else
                CHECK(plan.steps.size() > 8 * layers);
            CHECK(make_plan(graph, file, find_arch("gfx1100"), {.rows = rows, .fusion = false})
                      .steps.size() > 10 * layers);
            CHECK(plan.bytes(BufferRole::kTiles, 0) > 100'000'000);
        }
        std::filesystem::remove(file.path());
    }
}

TEST_CASE("synthetic files have the types that llama.cpp's quantiser chose for a model") {
    const ModelShape mini{.name = "mini35",
                          .architecture = "qwen35moe",
                          .layers = 4,
                          .hidden = 256,
                          .heads = 4,
                          .kv_heads = 2,
                          .head_size = 128,
                          .rotary = 32,
                          .vocabulary = 4096,
                          .experts = 8,
                          .experts_used = 2,
                          .expert_inner = 256,
                          .shared_inner = 256,
                          .key_heads = 2,
                          .value_heads = 4,
                          .state_size = 64};
    const ModelShape tiny{.name = "tiny",
                          .architecture = "qwen3",
                          .layers = 6,
                          .hidden = 256,
                          .inner = 768,
                          .heads = 8,
                          .kv_heads = 4,
                          .head_size = 64,
                          .vocabulary = 4096,
                          .tied = true};
    for (const auto& [shape, name] : {std::pair(mini, "mini35-Q4_K_M"), {tiny, "tiny-Q4_K_M"}}) {
        const ModelFile file(kModels + "/" + name + ".gguf");
        const std::vector<ShapedTensor> tensors = tensors_of(shape);
        CHECK(tensors.size() == file.tensors().size());
        for (const ShapedTensor& tensor : tensors) {
            CAPTURE(tensor.name);
            CHECK(file.tensor(tensor.name).dims == tensor.dims);
            CHECK(file.tensor(tensor.name).ggml_type == mixed_type("Q4_K_M", shape, tensor));
        }
    }
}

}  // namespace
}  // namespace hetune
