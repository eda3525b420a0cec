// Sizes that no known model has: each shape either runs with its kernels, all tried, and the
// oracle's logits, or is refused before anything compiles, with the sizes that work.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

struct Odd {
    const char* name;
    ModelShape shape;
};

ModelShape odd_dense(const char* architecture, int64_t head_size, int64_t heads, int64_t kv_heads) {
    ModelShape shape = small(architecture);
    shape.layers = 1;
    shape.hidden = 160;
    shape.inner = 96;
    shape.heads = heads;
    shape.kv_heads = kv_heads;
    shape.head_size = head_size;
    shape.vocabulary = 131;
    return shape;
}
ModelShape odd_experts(int64_t experts, int64_t used, int64_t inner) {
    ModelShape shape = odd_dense("qwen3moe", 40, 4, 4);
    shape.inner = 0;
    shape.experts = experts;
    shape.experts_used = used;
    shape.expert_inner = inner;
    return shape;
}
ModelShape odd_states(int64_t key_heads, int64_t value_heads, int64_t size) {
    ModelShape shape = with_delta_net(odd_dense("qwen35", 72, 4, 1));
    shape.layers = 2;
    shape.key_heads = key_heads;
    shape.value_heads = value_heads;
    shape.state_size = size;
    return shape;
}

std::string written(const std::string& name, const ModelShape& shape, const std::string& quant) {
    const std::filesystem::path folder = HETUNE_BUILD_DIR "/test-models";
    std::filesystem::create_directories(folder);
    const std::string path = folder / fmt::format("odd-{}-{}.gguf", name, quant);
    write_synthetic(shape, {.quant = quant}, path);
    return path;
}

// In steps of one row, of some and of so many that experts are grouped and chunks are used.
void is_right(const std::string& name, const ModelShape& shape, bool by_matrix = false) {
    const std::string path = written(name, shape, "Q4_K_M");
    const ModelFile file(path);
    const std::vector<int32_t> tokens = [&] {
        std::vector<int32_t> list = some_tokens(48);
        for (int32_t& token : list) token %= static_cast<int32_t>(shape.vocabulary);
        return list;
    }();
    ReferenceEngine oracle(file, build_layer_graph(file), 64);
    const std::vector<float> wanted = oracle_logits(oracle, tokens);
    for (const int rows : {1, 9, 45}) {
        CAPTURE(name);
        CAPTURE(rows);
        Loaded loaded(path,
                      {.context = 64,
                       .prefill_rows = rows,
                       .activations = by_matrix ? Activations::kQuantised : Activations::kFloat,
                       .kv = by_matrix ? KvType::kF16 : KvType::kF32,
                       .all_logits = true,
                       .matrix = by_matrix});
        // The bound of 8-bit activations is model_test's.
        CHECK(
            compare_logits(wanted, loaded.session.forward(tokens, true), shape.vocabulary).mean_kl <
            (by_matrix ? 1.5e-3 : 1e-8));
    }
}

TEST_CASE("odd numbers of heads, experts and states, and odd widths, have the oracle's logits") {
    is_right("dense", odd_dense("llama", 96, 5, 1));
    is_right("experts", odd_experts(5, 3, 96));
    ModelShape states = odd_states(4, 12, 24);
    states.taps = 16;
    is_right("states", states);
}

TEST_CASE("a narrow product of 8-bit blocks is followed by a wide one on the matrix units") {
    ModelShape shape = odd_dense("qwen3", 64, 4, 1);
    shape.inner = 32;
    is_right("narrow", shape, true);
}

TEST_CASE("sizes without kernels are refused at planning, with the sizes that work") {
    ModelShape inner = odd_dense("qwen3", 64, 4, 1), heads = odd_dense("qwen3", 32, 64, 1);
    inner.inner = 40;
    struct Case {
        const char* name;
        ModelShape shape;
        const char* says;
    };
    for (const Case& c : {Case{"inner", inner, "rows of 40 values; F16 needs a multiple of 32"},
                          Case{"heads", heads,
                               "64 query heads for each KV head; the attention "
                               "kernels take up to 32 on a GPU"},
                          Case{"used", odd_experts(40, 33, 32), "takes up to 32"},
                          Case{"expert", odd_experts(8, 2, 48), "needs a multiple of 32"}}) {
        CAPTURE(c.name);
        const ModelFile file(written(c.name, c.shape, "Q4_K_M"));
        CHECK_THROWS_WITH_AS(
            model_plans(build_layer_graph(file), file, find_arch("gfx1100"), {.context = 64}),
            doctest::Contains(c.says), ModelError);
    }
}

}  // namespace
}  // namespace hetune
