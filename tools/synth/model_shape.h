// The sizes of a model: enough to write a file of its architecture without its weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hetune {

struct ModelShape {
    std::string name;          // "qwen3-8b"
    std::string architecture;  // as in planner/graph/models
    int layers = 0;
    int predicting_layers = 0;  // more blocks behind them, for multi-token prediction
    int64_t hidden = 0;
    int64_t inner = 0;  // of the dense feed-forward part; 0 with experts
    int64_t heads = 0, kv_heads = 0, head_size = 0;
    int64_t rotary = 0;  // 0: head_size
    double rope_base = 1e6;
    double rope_factor = 0;    // Llama 3: writes rope_freqs that stretch 8192 tokens by it
    std::string rope_scaling;  // rope.scaling.type: "linear", "yarn"; empty: none
    double rope_scale = 1;     // its factor
    int64_t rope_trained = 0;  // and the context before it, for YaRN
    int64_t context = 0;
    int64_t vocabulary = 0;
    std::string pre_tokenizer = "qwen2";
    bool tied = false;  // no output.weight

    int64_t experts = 0, experts_used = 0, expert_inner = 0, shared_inner = 0;
    // Gated delta net layers, where the architecture has them.
    int64_t key_heads = 0, value_heads = 0, state_size = 0, taps = 4;
    int64_t attention_interval = 4;
};

// Those that `hetune synth --like` knows, by name.
const std::vector<ModelShape>& known_shapes();
// Throws std::runtime_error that lists the known ones.
const ModelShape& find_shape(const std::string& name);

enum class TensorFill {
    kMatrix,     // random, variance 1 / columns
    kNorm,       // around 1
    kBias,       // around 0
    kConv,       // taps of a depthwise convolution
    kDecay,      // ssm_a: -1 to -16
    kDtBias,     // small time steps
    kRopeFreqs,  // divisors of the rotary frequencies
};

struct ShapedTensor {
    std::string name;
    std::vector<int64_t> dims;  // ggml order
    TensorFill fill = TensorFill::kMatrix;
    bool quantised = false;  // by a quantiser; otherwise F32
    int layer = -1;
};

// Every tensor of the file, in file order, named as llama.cpp's converter does.
std::vector<ShapedTensor> tensors_of(const ModelShape& shape);

}  // namespace hetune
