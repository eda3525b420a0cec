// The small models whose kernels run on the emulator, and which of their kernels: asked by the
// emulator's tests and, for objects of hipRTC and comgr, by rocm_test.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "cache/key.h"
#include "planner/synth/synthetic.h"
#include "runtime/session_plans.h"
#include "tests/runtime/small_shapes.h"

namespace hetune::testing {

struct EmulatedModel {
    ModelShape shape;
    std::vector<SessionOptions> sessions;
};

// 331 tokens: the last tile has 11 rows. Rows of steps: a trial takes three fewer, which leaves a
// tail behind groups of 8 (9, 17), chunks of 32 (45) and tiles of 32 (45) and of 64 (77).
inline ModelShape emulated_dense() {
    ModelShape shape = small("qwen3");
    shape.name = "emulated";
    shape.layers = 1;
    shape.vocabulary = 331;
    return shape;
}
// Biases, tails in rows (of 128) and columns (of 512), three heads a KV head, heads of 128.
inline ModelShape emulated_biased() {
    ModelShape shape = emulated_dense();
    shape.name = "emulated-biased";
    shape.architecture = "qwen2";
    shape.hidden = 768;
    shape.inner = 1280;
    shape.heads = 6;
    shape.head_size = 128;
    shape.vocabulary = 97;
    return shape;
}
// No norm of heads, interleaved rotation.
inline ModelShape emulated_llama() {
    ModelShape shape = emulated_dense();
    shape.name = "emulated-llama";
    shape.architecture = "llama";
    shape.rope_factor = 8;
    return shape;
}
inline ModelShape emulated_hybrid() {
    ModelShape shape = with_experts(with_delta_net(emulated_dense()), 256);
    shape.name = "emulated-hybrid";
    shape.architecture = "qwen35moe";
    shape.layers = 2;
    shape.value_heads = 4;
    return shape;
}

inline std::vector<EmulatedModel> emulated_models() {
    const std::map<std::string, std::string> tile = {{"kTileM", "64"}};
    const SessionOptions large_tiles = {
        .prefill_rows = 77,
        .tunables = {{"gemm", tile}, {"gemm_swiglu", tile}, {"experts_gate_up_gemm", tile}}};
    return {{emulated_dense(),
             {{.prefill_rows = 9, .loops = true},  // no arch of AMD has any by itself
              {.prefill_rows = 9, .fusion = false},
              {.prefill_rows = 9, .activations = Activations::kFloat, .kv = KvType::kF32},
              {.prefill_rows = 9, .fusion = false, .kv = KvType::kBF16},
              {.prefill_rows = 45},
              {.prefill_rows = 45, .kv = KvType::kQ8},
              large_tiles}},
            {emulated_biased(), {{.prefill_rows = 9}, {.prefill_rows = 45}}},
            {emulated_llama(), {{.prefill_rows = 9}}},
            {emulated_hybrid(),
             {{.prefill_rows = 3},
              {.prefill_rows = 17},
              {.prefill_rows = 45},
              {.prefill_rows = 45, .matrix = false},
              large_tiles}}};
}

inline std::string written_model(const ModelShape& shape, const std::string& quant,
                                 const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    const std::string path = folder / fmt::format("{}-{}.gguf", shape.name, quant);
    write_synthetic(shape, {.quant = quant}, path);
    return path;
}

// Where the object of a source text lies in a folder of objects by one compiler.
inline std::string object_file_name(const std::string& source) {
    return content_hash(source.data(), source.size()).hex() + ".co";
}

}  // namespace hetune::testing
