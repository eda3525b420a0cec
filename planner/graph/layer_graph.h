// A model as primitive operations over named values: what is computed, not how. Built from a
// model file by the plug-in of its architecture (planner/graph/models/<arch>.cc); read by the
// oracle, which runs it as it stands, and by the planner, which fuses it and picks kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/model_file.h"

namespace hetune {

using ValueId = int;

// Activations, float [rows, width]; rows are the tokens of one step.
struct Value {
    std::string name;  // "blk.3.attn_norm"
    int64_t width = 0;

    bool operator==(const Value&) const = default;
};

// One primitive operation. Kinds, with inputs -> outputs; weights; attributes:
//   embed           () -> x                 token_embd
//   rmsnorm         x -> y                  w;              eps            y = x / rms(x) * w
//   linear          x -> y                  W [, bias]                     y = W x (+ bias)
//   scale           x -> y                  s [, bias]                     y = x * s (+ bias)
//                   s is one float of the file
//   add             a, b -> y
//   head_rmsnorm    x -> y                  w;              heads, head_size, eps
//   rope            x -> y                  -               heads, head_size, rotary, interleaved
//                   pairs (i, i + rotary/2), or (2i, 2i+1) if interleaved; angles from
//                   LayerGraph::rope_turns; the dimensions behind `rotary` pass through
//   attention       q, k, v -> y            -               heads, kv_heads, head_size, scale, kv
//                   causal; `kv` numbers the layer's place in the KV cache
//   silu_mul        g, u -> y                                              y = silu(g) * u
//   sigmoid_mul     x, g -> y                                              y = x * sigmoid(g)
//   split_heads     x -> a, b               -               heads, head_size
//                   each head of x is [a(head_size) | b(head_size)]
//   causal_conv     x -> y                  w[taps, width]; taps, state    silu(depthwise conv)
//   delta_net       qkv, a, b -> y          ssm_a, dt_bias; key_heads, value_heads, key_size,
//                   value_size, eps, state
//                   Each value head h has a matrix S [key_size, value_size], zero at the start.
//                   qkv is [q of all key heads | k of all key heads | v of all value heads]; h
//                   reads q and k of key head h mod key_heads. For each token:
//                     q' = q / max(|q|, eps) / sqrt(key_size)      k' = k / max(|k|, eps)
//                     decay = exp(ssm_a[h] * softplus(a[h] + dt_bias[h]))
//                     beta = sigmoid(b[h])
//                     S <- decay * S;   S <- S + k' (beta * (v - S^T k'))^T;   y = S^T q'
//                   Source: Gated Delta Networks, arXiv 2412.06464; ssm_a is -exp(A_log) there.
//   gated_rmsnorm   x, z -> y               w;              heads, head_size, eps
//                   y = rmsnorm_per_head(x) * w * silu(z)
//   router          x -> ids, probabilities W;              experts, used, renormalise, groups,
//                   groups_used
//                   softmax over all, the `used` largest (lower index first on a tie); of the
//                   `groups` of neighbours only from the `groups_used` whose two largest
//                   probabilities add up to most
//   scale_shares    ids, p -> p'            s[experts]                     p'_k = p_k * s[ids_k]
//   experts         x, ids, p -> y          gate, up, down [, s]; experts, used
//                   sum_k p_k * down_k(silu(gate_k x) * up_k x), gate_k x times s[ids_k] where
//                   there is s[experts]
//   scale_by_sigmoid x, s -> y              s has width 1                  y = x * sigmoid(s)
//   last_row        x -> y                  keeps what the logits need; a hint, the identity
struct Op {
    std::string kind;
    std::vector<ValueId> inputs;
    std::vector<ValueId> outputs;
    std::vector<std::string> weights;          // tensor names
    std::map<std::string, double> attributes;  // integers are exact in a double
    int layer = -1;                            // -1: outside the layers

    double attribute(const std::string& name) const;
    int64_t integer(const std::string& name) const;
    bool operator==(const Op&) const = default;
};

struct LayerGraph {
    std::string architecture;  // "qwen3"
    std::string name;          // general.name of the file
    int layers = 0;
    int64_t hidden = 0;
    int64_t vocabulary = 0;
    int64_t trained_context = 0;
    // Turns per position of each rotary pair, after the file's rope scaling: freq / (2 pi), in
    // double so that kernels can split it into two floats. Cosine and sine are also scaled by
    // rope_magnitude (YaRN's attention factor).
    std::vector<double> rope_turns;
    double rope_magnitude = 1.0;
    std::string rope_divisors;  // the tensor that rope_turns were divided by; "": none

    std::vector<Value> values;
    std::vector<Op> ops;             // in order of execution
    ValueId logits = -1;             // [rows, vocabulary]
    std::vector<std::string> notes;  // what of the file is left out, one line each
    std::vector<std::string>
        unused;  // what of the file no op reads and is not known to be harmless

    ValueId add_value(std::string name, int64_t width);
    // Appends an op with one output and returns it.
    ValueId add_op(Op op, std::string output_name, int64_t width);
    int count(std::string_view kind) const;
    bool operator==(const LayerGraph&) const = default;
};

// Throws ModelError that says what the file is, where it is no model of a known architecture:
// before anything else of the file is looked at, such as its tokenizer.
void require_language_model(const ModelFile& file);

// Reads the header of the file only, and the divisors of rope. Throws ModelError: not a language
// model (says what it is), unknown architecture (lists the known ones), a missing or misshapen
// tensor, a hyper-parameter out of range. Does not throw for LayerGraph::unused: whoever
// offers to go on without calls require_all_used.
LayerGraph build_layer_graph(const ModelFile& file);

// Throws ModelError with the names of LayerGraph::unused, where there are any; with `allow` gives
// the line as a warning instead ("": nothing is unused).
std::string require_all_used(const ModelFile& file, const LayerGraph& graph, bool allow);

// A model plug-in: one file in planner/graph/models, one object of this type in it.
struct RegisterModel {
    RegisterModel(std::string architecture, std::function<LayerGraph(const ModelFile&)> build);
};
std::vector<std::string> known_architectures();

}  // namespace hetune
