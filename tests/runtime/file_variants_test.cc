// Layouts of tensors and kinds of settings that llama.cpp reads give llama.cpp's logits.
#include "tests/runtime/file_variants.h"

#include <doctest/doctest.h>

#include <cmath>

#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

constexpr size_t kTokens = 48;

// llama.cpp's logits: of all 48 tokens, or of every sixth.
std::vector<float> judged(const FileVariant& variant) {
    std::ifstream file(kModels + "/variants/" + variant.name + ".f32", std::ios::binary);
    REQUIRE(file);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    std::vector<float> logits(bytes.size() / sizeof(float));
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    return logits;
}

LogitsDistance to_judged(const FileVariant& variant, const std::vector<float>& logits) {
    const auto wanted = judged(variant);
    const auto width = static_cast<size_t>(variant.shape.vocabulary);
    const size_t rows = wanted.size() / width, stride = kTokens / rows;
    REQUIRE(rows * stride == kTokens);
    std::vector<float> picked;
    for (size_t row = stride - 1; row < kTokens; row += stride)
        picked.insert(picked.end(), logits.begin() + static_cast<int64_t>(row * width),
                      logits.begin() + static_cast<int64_t>((row + 1) * width));
    return compare_logits(wanted, picked, variant.shape.vocabulary);
}

std::string written(const FileVariant& variant) {
    const std::filesystem::path folder = HETUNE_BUILD_DIR "/test-models";
    std::filesystem::create_directories(folder);
    const std::string path = folder / ("variant-" + variant.name + ".gguf");
    write_variant(variant, path);
    return path;
}

TEST_CASE("every layout and setting that llama.cpp reads gives llama.cpp's logits in the oracle") {
    for (const FileVariant& variant : file_variants()) {
        CAPTURE(variant.name);
        const ModelFile file(written(variant));
        const LayerGraph graph = build_layer_graph(file);
        CHECK(require_all_used(file, graph, true) == "");
        ReferenceEngine oracle(file, graph, 64);
        // All is float32 on both sides: sums in another order are 1e-11 apart.
        CHECK(to_judged(variant, oracle_logits(oracle, some_tokens(kTokens))).max_kl < 1e-8);
    }
}

TEST_CASE("compiled kernels give llama.cpp's logits where tensors are fused, scaled or grouped") {
    for (const FileVariant& variant : file_variants()) {
        CAPTURE(variant.name);
        const std::string& name = variant.name;
        if (!name.starts_with("fused-") && !name.starts_with("scales-") && name != "groups")
            continue;
        for (const int rows : {1, 16}) {
            Loaded loaded(written(variant), {.context = 64,
                                             .prefill_rows = rows,
                                             .activations = Activations::kFloat,
                                             .kv = KvType::kF32,
                                             .all_logits = true});
            CHECK(to_judged(variant, loaded.session.forward(some_tokens(kTokens), true)).max_kl <
                  1e-8);
        }
    }
}

}  // namespace
}  // namespace hetune
