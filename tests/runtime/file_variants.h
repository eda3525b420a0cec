// Files that say the same, or a little more, in another way: the layouts of tensors and settings
// that llama.cpp 0.7.0 reads. Each is the file of a small model with something changed.
// tests/models/variants has llama.cpp's logits of each (tests/llama/llama_test.cc writes them).
#pragma once

#include <fmt/format.h>

#include <functional>

#include "tests/runtime/edited_model.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune {

struct FileVariant {
    std::string name;
    ModelShape shape;
    std::function<void(EditedModel&)> change;
};

// Factors and biases: different ones, of any size that does not drown the model.
inline std::vector<float> some_values(size_t count, float around, float seed) {
    std::vector<float> values;
    for (size_t i = 0; i < count; ++i)
        values.push_back(around + 0.4f * std::sin(seed + 1.7f * static_cast<float>(i)));
    return values;
}

inline std::vector<FileVariant> file_variants() {
    const auto rows = [](EditedModel& m, const std::string& name) {
        return static_cast<size_t>(m.tensor(name).dims.back());
    };
    const auto fuse_qkv = [](EditedModel& m, int layer) {
        const std::string blk = fmt::format("blk.{}.attn_", layer);
        m.fuse(blk + "qkv.weight", {blk + "q.weight", blk + "k.weight", blk + "v.weight"});
    };
    const auto fuse_experts = [](EditedModel& m, const ModelShape& shape) {
        for (int i = 0; i < shape.layers; ++i) {
            const std::string blk = fmt::format("blk.{}.ffn_", i);
            m.fuse(blk + "gate_up_exps.weight", {blk + "gate_exps.weight", blk + "up_exps.weight"},
                   shape.experts);
            auto& dims = m.tensor(blk + "gate_up_exps.weight").dims;
            dims = {dims[0], 2 * shape.expert_inner, shape.experts};
        }
    };
    const auto number = [](int64_t value) { return MetaValue{value}; };

    const ModelShape moe = with_experts(small("qwen3moe"), 0);
    const ModelShape hybrid = with_delta_net(small("qwen35"));
    const ModelShape hybrid_moe = with_experts(with_delta_net(small("qwen35moe")), 256);
    return {
        // As the architectures come, for those that no real model of tests/models has.
        {"llama", small_models()[0], [](EditedModel&) {}},
        {"qwen2", small("qwen2"), [](EditedModel&) {}},
        {"qwen3moe", moe, [](EditedModel&) {}},
        {"qwen35", hybrid, [](EditedModel&) {}},
        {"mixtral", with_experts(small("llama"), 0),
         [=](EditedModel& m) {
             m.metadata["llama.feed_forward_length"] = number(256);
             m.metadata.erase("llama.expert_feed_forward_length");
         }},
        {"linear-rope", scaled_models()[0], [](EditedModel&) {}},
        {"yarn", scaled_models()[1],
         [](EditedModel& m) { m.metadata["qwen3.rope.scaling.attn_factor"] = {1.3}; }},
        {"factor-of-rope", small("qwen3"),
         [](EditedModel& m) { m.metadata["qwen3.rope.scaling.attn_factor"] = {0.8}; }},
        {"fused-qkv", small("qwen2"),
         [=](EditedModel& m) {
             for (int i = 0; i < 2; ++i) {
                 const std::string blk = fmt::format("blk.{}.attn_", i);
                 std::string bias;
                 for (const char* part : {"q", "k", "v"}) {
                     bias += m.tensor(blk + part + ".bias").bytes;
                     m.remove(blk + part + ".bias");
                 }
                 std::vector<float> values(bias.size() / sizeof(float));
                 std::memcpy(values.data(), bias.data(), bias.size());
                 m.add(blk + "qkv.bias", values);
                 m.add(blk + "qkv.scale", {0.8f});
                 fuse_qkv(m, i);
             }
         }},
        {"fused-hybrid", hybrid_moe,
         [=](EditedModel& m) {
             for (const int i : {1, 3}) fuse_qkv(m, i);
             fuse_experts(m, hybrid_moe);
         }},
        {"scales-llama", small("llama"),
         [=](EditedModel& m) {
             for (const char* part :
                  {"attn_q", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}) {
                 const std::string name = fmt::format("blk.1.{}", part);
                 m.add(name + ".bias", some_values(rows(m, name + ".weight"), 0.1f, 3.0f));
                 m.add(name + ".scale", {0.7f});
                 m.add(name + ".input_scale", {0.5f});
             }
         }},
        {"scales-hybrid", hybrid,
         [](EditedModel& m) {
             for (const char* part :
                  {"attn_qkv", "attn_gate", "ssm_out", "ssm_alpha", "ssm_beta", "ffn_up"})
                 m.add(fmt::format("blk.2.{}.scale", part), {1.2f});
             for (const char* part : {"attn_q", "attn_k", "attn_v"})
                 m.add(fmt::format("blk.1.{}.scale", part), {0.7f});
         }},
        {"scales-experts", hybrid_moe,
         [](EditedModel& m) {
             for (const char* part : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"})
                 m.add(fmt::format("blk.1.{}.scale", part), some_values(6, 0.9f, 1.0f));
             for (const char* part : {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"})
                 m.add(fmt::format("blk.2.{}.scale", part), {0.6f});
         }},
        {"groups", moe,
         [=](EditedModel& m) {
             m.metadata["qwen3moe.expert_group_count"] = number(3);
             m.metadata["qwen3moe.expert_group_used_count"] = number(2);
         }},
        {"output-bias", small("qwen2"),
         [](EditedModel& m) { m.add("output.bias", some_values(320, 0.0f, 2.0f)); }},
        {"lists", small("qwen3"),
         [=](EditedModel& m) {
             m.metadata["qwen3.attention.head_count"] = {MetaArray{number(4), number(4)}};
             m.metadata["qwen3.attention.head_count_kv"] = {MetaArray{number(2), number(2)}};
             m.metadata["qwen3.feed_forward_length"] = {MetaArray{number(512), number(512)}};
         }},
        {"recurrent-layers", hybrid,
         [=](EditedModel& m) {
             m.metadata.erase("qwen35.full_attention_interval");
             m.metadata["qwen35.attention.recurrent_layers"] = {
                 MetaArray{number(1), number(0), number(1), number(0)}};
         }},
        {"still-pairs", hybrid,
         [=](EditedModel& m) {
             m.metadata["qwen35.rope.dimension_sections"] = {
                 MetaArray{number(2), number(1), number(2), number(3)}};
         }},
        {"old-factor", small("llama"),
         [](EditedModel& m) { m.metadata["llama.rope.scale_linear"] = {2.0}; }},
    };
}

inline void write_variant(const FileVariant& variant, const std::filesystem::path& path) {
    write_synthetic(variant.shape, {.quant = "F32"}, path);
    EditedModel model(path);
    variant.change(model);
    model.write(path);
}

}  // namespace hetune
