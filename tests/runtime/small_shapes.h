// A small model of each architecture, to be written with random weights (tools/synth).
#pragma once

#include <vector>

#include "tools/synth/model_shape.h"

namespace hetune {

inline ModelShape small(const char* architecture) {
    return {.name = architecture,
            .architecture = architecture,
            .layers = 2,
            .hidden = 256,
            .inner = 512,
            .heads = 4,
            .kv_heads = 2,
            .head_size = 64,
            .context = 512,
            .vocabulary = 320};
}

inline ModelShape with_experts(ModelShape shape, int64_t shared) {
    shape.inner = 0;
    shape.experts = 6;
    shape.experts_used = 2;
    shape.expert_inner = 256;
    shape.shared_inner = shared;
    return shape;
}

inline ModelShape with_delta_net(ModelShape shape) {
    shape.layers = 4;
    shape.rotary = 16;
    shape.key_heads = 2;
    shape.value_heads = 6;
    shape.state_size = 32;
    shape.attention_interval = 2;
    return shape;
}

inline std::vector<ModelShape> small_models() {
    ModelShape llama = small("llama"), tied = small("qwen3");
    llama.rope_base = 10000;
    llama.rope_factor = 8;
    tied.tied = true;
    return {llama,
            small("qwen2"),
            tied,
            with_experts(small("qwen3moe"), 0),
            with_delta_net(small("qwen35")),
            with_experts(with_delta_net(small("qwen35moe")), 256)};
}

// Rope scaling as files have it, next to rope_freqs of small_models().
inline std::vector<ModelShape> scaled_models() {
    ModelShape linear = small("llama"), yarn = small("qwen3"), long_yarn = small("qwen2");
    linear.name = "llama-linear";
    linear.rope_scaling = "linear";
    linear.rope_scale = 4;
    yarn.name = "qwen3-yarn";
    yarn.rope_scaling = "yarn";
    yarn.rope_scale = 4;
    yarn.rope_trained = 128;
    long_yarn.name = "qwen2-yarn";
    long_yarn.rope_scaling = "yarn";
    long_yarn.rope_scale = 8;
    long_yarn.rope_base = 1e4;
    long_yarn.rope_trained = 32;
    return {linear, yarn, long_yarn};
}

inline std::vector<int32_t> some_tokens(size_t count) {
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(i * 97 % 311));
    return tokens;
}

}  // namespace hetune
