// The small models whose kernels run on the emulator, and which of their kernels: asked by the
// emulator's tests and, for objects of hipRTC and comgr, by rocm_test.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cache/key.h"
#include "runtime/load/model_plans.h"
#include "tests/runtime/edited_model.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune::testing {

struct EmulatedModel {
    ModelShape shape;
    std::vector<LoadOptions> sessions;
    std::function<void(EditedModel&)> change = nullptr;  // of the file with the shape's tensors
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

// No size is a multiple of 64, which leaves the multiples of 32 that rows need; three heads;
// factors and biases of the file.
inline ModelShape emulated_odd() {
    ModelShape shape = emulated_dense();
    shape.name = "emulated-odd";
    shape.architecture = "llama";
    shape.hidden = 288;
    shape.inner = 416;
    shape.heads = 3;
    shape.kv_heads = 1;
    shape.head_size = 96;
    shape.rotary = 38;
    shape.vocabulary = 131;
    return shape;
}
inline void add_factors(EditedModel& file) {
    for (const std::string tensor : {"blk.0.attn_q", "blk.0.ffn_up"}) {
        const auto rows = static_cast<size_t>(file.tensor(tensor + ".weight").dims.back());
        file.add(tensor + ".scale", {0.7f});
        file.add(tensor + ".bias", std::vector<float>(rows, 0.1f));
    }
    file.add("blk.0.ffn_down.scale", {0.7f});
}
// The same with experts in groups, factors of experts, and heads and states of 40 values.
inline ModelShape emulated_odd_experts() {
    ModelShape shape = with_experts(with_delta_net(emulated_odd()), 96);
    shape.name = "emulated-odd-experts";
    shape.architecture = "qwen35moe";
    shape.layers = 2;
    shape.hidden = 160;
    shape.heads = 4;
    shape.kv_heads = 4;
    shape.head_size = 40;
    shape.experts = 15;
    shape.experts_used = 3;
    shape.expert_inner = 96;
    shape.key_heads = 4;
    shape.value_heads = 4;
    shape.state_size = 40;
    return shape;
}
inline void add_groups(EditedModel& file) {
    file.metadata["qwen35moe.expert_group_count"] = {int64_t{5}};
    file.metadata["qwen35moe.expert_group_used_count"] = {int64_t{2}};
    file.add("blk.0.ffn_gate_exps.scale", std::vector<float>(15, 0.7f));
    file.add("blk.1.ffn_down_exps.scale", std::vector<float>(15, 0.7f));
}

inline std::vector<EmulatedModel> emulated_models() {
    const std::map<std::string, std::string> tile = {{"kTileM", "64"}};
    const LoadOptions large_tiles = {
        .prefill_rows = 77,
        .tunables = {{"gemm", tile}, {"gemm_swiglu", tile}, {"experts_gate_up_gemm", tile}}};
    // Decode steps of 2, 4, 8, 16 and 32 sequences.
    const auto batches = [](LoadOptions options = {}) {
        options.sequences = 32;
        options.prefill_rows = 9;
        return options;
    };
    return {{emulated_dense(),
             {batches(),
              batches({.activations = Activations::kFloat, .kv = KvType::kBF16}),
              batches({.kv = KvType::kQ8}),
              {.prefill_rows = 9, .loops = true},  // no arch of AMD has any by itself
              {.prefill_rows = 9, .fusion = false},
              {.prefill_rows = 9, .activations = Activations::kFloat, .kv = KvType::kF32},
              {.prefill_rows = 9, .fusion = false, .kv = KvType::kBF16},
              {.prefill_rows = 45},
              {.prefill_rows = 45, .kv = KvType::kQ8},
              large_tiles}},
            {emulated_biased(), {batches(), {.prefill_rows = 45}}},
            {emulated_llama(), {batches()}},
            {emulated_hybrid(),
             {batches(),
              {.prefill_rows = 3},
              {.prefill_rows = 17},
              {.prefill_rows = 45},
              {.prefill_rows = 45, .matrix = false},
              large_tiles}},
            {emulated_odd(), {batches(), {.prefill_rows = 45}}, add_factors},
            {emulated_odd_experts(),
             {batches(), {.prefill_rows = 9, .fusion = false}, {.prefill_rows = 45}},
             add_groups}};
}

inline std::string written_model(const EmulatedModel& model, const std::string& quant,
                                 const std::filesystem::path& folder) {
    std::filesystem::create_directories(folder);
    const std::string path = folder / fmt::format("{}-{}.gguf", model.shape.name, quant);
    write_synthetic(model.shape, {.quant = quant}, path);
    if (model.change == nullptr) return path;
    EditedModel file(path);
    model.change(file);
    file.write(path);
    return path;
}

// Where the object of a source text lies in a folder of objects by one compiler.
inline std::string object_file_name(const std::string& source) {
    return content_hash(source.data(), source.size()).hex() + ".co";
}

}  // namespace hetune::testing
