// Sizes from the models' published config.json files.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "tools/synth/model_shape.h"

namespace hetune {
namespace {

ModelShape qwen3(const char* name, int layers, int64_t hidden, int64_t inner, int64_t heads,
                 bool tied) {
    return {.name = name,
            .architecture = "qwen3",
            .layers = layers,
            .hidden = hidden,
            .inner = inner,
            .heads = heads,
            .kv_heads = 8,
            .head_size = 128,
            .context = 40960,
            .vocabulary = 151936,
            .tied = tied};
}

ModelShape llama3(const char* name, int layers, int64_t hidden, int64_t inner, int64_t heads,
                  int64_t head_size, double factor, bool tied) {
    return {.name = name,
            .architecture = "llama",
            .layers = layers,
            .hidden = hidden,
            .inner = inner,
            .heads = heads,
            .kv_heads = 8,
            .head_size = head_size,
            .rope_base = 500000,
            .rope_factor = factor,
            .context = 131072,
            .vocabulary = 128256,
            .pre_tokenizer = "llama-bpe",
            .tied = tied};
}

// The Qwen3.5 / 3.6 family.
ModelShape hybrid(const char* name, const char* architecture, int layers, int64_t hidden,
                  int64_t inner, int64_t heads, int64_t kv_heads, int64_t value_heads) {
    return {.name = name,
            .architecture = architecture,
            .layers = layers,
            .hidden = hidden,
            .inner = inner,
            .heads = heads,
            .kv_heads = kv_heads,
            .head_size = 256,
            .rotary = 64,
            .rope_base = 1e7,
            .context = 262144,
            .vocabulary = 248320,
            .pre_tokenizer = "qwen35",
            .key_heads = 16,
            .value_heads = value_heads,
            .state_size = 128};
}

std::vector<ModelShape> make_shapes() {
    std::vector<ModelShape> shapes = {
        qwen3("qwen3-0.6b", 28, 1024, 3072, 16, true),
        qwen3("qwen3-4b", 36, 2560, 9728, 32, true),
        qwen3("qwen3-8b", 36, 4096, 12288, 32, false),
        qwen3("qwen3-14b", 40, 5120, 17408, 40, false),
        qwen3("qwen3-32b", 64, 5120, 25600, 64, false),
        llama3("llama3-1b", 16, 2048, 8192, 32, 64, 32, true),
        llama3("llama3-8b", 32, 4096, 14336, 32, 128, 8, false),
        llama3("llama3-70b", 80, 8192, 28672, 64, 128, 8, false),
        {.name = "mistral-7b",
         .architecture = "llama",
         .layers = 32,
         .hidden = 4096,
         .inner = 14336,
         .heads = 32,
         .kv_heads = 8,
         .head_size = 128,
         .context = 32768,
         .vocabulary = 32768,
         .pre_tokenizer = "default"},
        {.name = "qwen2.5-7b",
         .architecture = "qwen2",
         .layers = 28,
         .hidden = 3584,
         .inner = 18944,
         .heads = 28,
         .kv_heads = 4,
         .head_size = 128,
         .context = 32768,
         .vocabulary = 152064},
        {.name = "qwen3-30b-a3b",
         .architecture = "qwen3moe",
         .layers = 48,
         .hidden = 2048,
         .heads = 32,
         .kv_heads = 4,
         .head_size = 128,
         .context = 40960,
         .vocabulary = 151936,
         .experts = 128,
         .experts_used = 8,
         .expert_inner = 768},
        hybrid("qwen3.5-0.8b", "qwen35", 24, 1024, 3584, 8, 2, 16),
        hybrid("qwen3.6-27b", "qwen35", 64, 5120, 17408, 24, 4, 48),
    };
    shapes[shapes.size() - 2].tied = true;
    ModelShape experts = hybrid("qwen3.6-35b-a3b", "qwen35moe", 40, 2048, 0, 16, 2, 32);
    experts.experts = 256;
    experts.experts_used = 8;
    experts.expert_inner = experts.shared_inner = 512;
    shapes.push_back(experts);
    std::ranges::sort(shapes, {}, &ModelShape::name);
    return shapes;
}

}  // namespace

const std::vector<ModelShape>& known_shapes() {
    static const std::vector<ModelShape> shapes = make_shapes();
    return shapes;
}

const ModelShape& find_shape(const std::string& name) {
    const auto found = std::ranges::find(known_shapes(), name, &ModelShape::name);
    if (found != known_shapes().end()) return *found;
    std::vector<std::string> names;
    for (const ModelShape& shape : known_shapes()) names.push_back(shape.name);
    throw std::runtime_error(
        fmt::format("'{}' is no known model; known: {}", name, fmt::join(names, ", ")));
}

}  // namespace hetune
