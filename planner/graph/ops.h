// The primitive operations, of which a layer graph consists: a struct for each kind, with its
// formula. Fusion rules make others of them, which only kernels know (planner/fusion/fused_ops.h).
//
// A new kind is a struct here and a name in PrimitiveOp. The program does not compile before the
// oracle (runtime/oracle/ops.h), the lowerings (planner/lower/lowerings.h) and the trials
// (runtime/trial/certifier.h) know the kind: docs/kernel-authoring.md shows how.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "planner/graph/op_members.h"

namespace hetune {
namespace ops {

// y = the rows of `table` that the step's tokens name
struct Embed {
    Output y;
    Weight table;

    static constexpr std::string_view kKind = "embed";
    static constexpr void members(auto& self, auto&& member) {
        member("y", self.y);
        member("table", self.table);
    }
    bool operator==(const Embed&) const = default;
};

// y = x / rms(x) * weight
struct RmsNorm {
    Input x;
    Output y;
    Weight weight;
    double eps = 0;

    static constexpr std::string_view kKind = "rmsnorm";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("weight", self.weight);
        member("eps", self.eps);
    }
    bool operator==(const RmsNorm&) const = default;
};

// y = W x (+ bias)
struct Linear {
    Input x;
    Output y;
    Weight weight;
    Weight bias;

    static constexpr std::string_view kKind = "linear";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("weight", self.weight);
        member("bias", self.bias);
    }
    bool operator==(const Linear&) const = default;
};

// y = x * factor (+ bias); the factor is one float of the file
struct Scale {
    Input x;
    Output y;
    Weight factor;
    Weight bias;

    static constexpr std::string_view kKind = "scale";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("factor", self.factor);
        member("bias", self.bias);
    }
    bool operator==(const Scale&) const = default;
};

// y = a + b
struct Add {
    Input a, b;
    Output y;

    static constexpr std::string_view kKind = "add";
    static constexpr void members(auto& self, auto&& member) {
        member("a", self.a);
        member("b", self.b);
        member("y", self.y);
    }
    bool operator==(const Add&) const = default;
};

// y = silu(gate) * up
struct SiluMul {
    Input gate, up;
    Output y;

    static constexpr std::string_view kKind = "silu_mul";
    static constexpr void members(auto& self, auto&& member) {
        member("gate", self.gate);
        member("up", self.up);
        member("y", self.y);
    }
    bool operator==(const SiluMul&) const = default;
};

// y = x * sigmoid(gate)
struct SigmoidMul {
    Input x, gate;
    Output y;

    static constexpr std::string_view kKind = "sigmoid_mul";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("gate", self.gate);
        member("y", self.y);
    }
    bool operator==(const SigmoidMul&) const = default;
};

// y = x * sigmoid(gate); the gate has width 1
struct ScaleBySigmoid {
    Input x, gate;
    Output y;

    static constexpr std::string_view kKind = "scale_by_sigmoid";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("gate", self.gate);
        member("y", self.y);
    }
    bool operator==(const ScaleBySigmoid&) const = default;
};

// y = x / rms(x) * weight for each head of x; the weight has head_size values
struct HeadRmsNorm {
    Input x;
    Output y;
    Weight weight;
    int64_t heads = 0, head_size = 0;
    double eps = 0;

    static constexpr std::string_view kKind = "head_rmsnorm";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("weight", self.weight);
        member("heads", self.heads);
        member("head_size", self.head_size);
        member("eps", self.eps);
    }
    bool operator==(const HeadRmsNorm&) const = default;
};

// Turns pairs of each head by the position times LayerGraph::rope_turns: pairs (i, i + rotary / 2),
// or (2i, 2i + 1) if interleaved. The dimensions behind `rotary` pass through.
struct Rope {
    Input x;
    Output y;
    int64_t heads = 0, head_size = 0, rotary = 0;
    bool interleaved = false;

    static constexpr std::string_view kKind = "rope";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("heads", self.heads);
        member("head_size", self.head_size);
        member("rotary", self.rotary);
        member("interleaved", self.interleaved);
    }
    bool operator==(const Rope&) const = default;
};

// Each head of x is [a (head_size) | b (head_size)].
struct SplitHeads {
    Input x;
    Output a, b;
    int64_t heads = 0, head_size = 0;

    static constexpr std::string_view kKind = "split_heads";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("a", self.a);
        member("b", self.b);
        member("heads", self.heads);
        member("head_size", self.head_size);
    }
    bool operator==(const SplitHeads&) const = default;
};

// y = softmax(scale * q k^T) v over all positions up to the row's own; query heads share KV heads
// in order.
struct Attention {
    Input q, k, v;
    Output y;
    int64_t heads = 0, kv_heads = 0, head_size = 0;
    double scale = 0;
    int kv = 0;  // the layer's place in the KV cache

    static constexpr std::string_view kKind = "attention";
    static constexpr void members(auto& self, auto&& member) {
        member("q", self.q);
        member("k", self.k);
        member("v", self.v);
        member("y", self.y);
        member("heads", self.heads);
        member("kv_heads", self.kv_heads);
        member("head_size", self.head_size);
        member("scale", self.scale);
        member("kv", self.kv);
    }
    bool operator==(const Attention&) const = default;
};

// y = silu(depthwise convolution of x with its last taps - 1 rows)
struct CausalConv {
    Input x;
    Output y;
    Weight weight;  // [width, taps]
    int64_t taps = 0;
    int state = 0;  // the layer's place among the recurrent states

    static constexpr std::string_view kKind = "causal_conv";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("weight", self.weight);
        member("taps", self.taps);
        member("state", self.state);
    }
    bool operator==(const CausalConv&) const = default;
};

// Each value head h has a matrix S [key_size, value_size], zero at the start. qkv is [q of all key
// heads | k of all key heads | v of all value heads]; h reads q and k of key head h mod key_heads.
// For each token:
//   q' = q / max(|q|, eps) / sqrt(key_size)      k' = k / max(|k|, eps)
//   decay = exp(ssm_a[h] * softplus(a[h] + dt_bias[h]))
//   beta = sigmoid(b[h])
//   S <- decay * S;   S <- S + k' (beta * (v - S^T k'))^T;   y = S^T q'
// Source: Gated Delta Networks, arXiv 2412.06464; ssm_a is -exp(A_log) there.
struct DeltaNet {
    Input qkv, a, b;
    Output y;
    Weight ssm_a, dt_bias;
    int64_t key_heads = 0, value_heads = 0, key_size = 0, value_size = 0;
    double eps = 0;
    int state = 0;  // the layer's place among the recurrent states

    static constexpr std::string_view kKind = "delta_net";
    static constexpr void members(auto& self, auto&& member) {
        member("qkv", self.qkv);
        member("a", self.a);
        member("b", self.b);
        member("y", self.y);
        member("ssm_a", self.ssm_a);
        member("dt_bias", self.dt_bias);
        member("key_heads", self.key_heads);
        member("value_heads", self.value_heads);
        member("key_size", self.key_size);
        member("value_size", self.value_size);
        member("eps", self.eps);
        member("state", self.state);
    }
    bool operator==(const DeltaNet&) const = default;
};

// y = x / rms(x) * weight * silu(gate) for each head of x; the weight has head_size values
struct GatedRmsNorm {
    Input x, gate;
    Output y;
    Weight weight;
    int64_t heads = 0, head_size = 0;
    double eps = 0;

    static constexpr std::string_view kKind = "gated_rmsnorm";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("gate", self.gate);
        member("y", self.y);
        member("weight", self.weight);
        member("heads", self.heads);
        member("head_size", self.head_size);
        member("eps", self.eps);
    }
    bool operator==(const GatedRmsNorm&) const = default;
};

// Softmax of W x over all experts, and the `used` largest of them (lower index first on a tie): ids
// and their probabilities, which add up to 1 if renormalised. Only experts of the `groups_used`
// groups of neighbours are chosen whose two largest probabilities add up to most.
struct Router {
    Input x;
    Output ids, shares;
    Weight weight;
    int64_t experts = 0, used = 0, groups = 1, groups_used = 1;
    bool renormalise = false;

    static constexpr std::string_view kKind = "router";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("ids", self.ids);
        member("shares", self.shares);
        member("weight", self.weight);
        member("experts", self.experts);
        member("used", self.used);
        member("groups", self.groups);
        member("groups_used", self.groups_used);
        member("renormalise", self.renormalise);
    }
    bool operator==(const Router&) const = default;
};

// y_k = shares_k * factors[ids_k]
struct ScaleShares {
    Input ids, shares;
    Output y;
    Weight factors;  // [experts]
    int64_t used = 0;

    static constexpr std::string_view kKind = "scale_shares";
    static constexpr void members(auto& self, auto&& member) {
        member("ids", self.ids);
        member("shares", self.shares);
        member("y", self.y);
        member("factors", self.factors);
        member("used", self.used);
    }
    bool operator==(const ScaleShares&) const = default;
};

// y = sum over k of shares_k * down_k(silu(gate_k x) * up_k x), of the experts ids_k. gate_k x is
// multiplied by gate_scale[ids_k] where there is one.
struct Experts {
    Input x, ids, shares;
    Output y;
    Weight gate, up, down;  // the matrices of all experts, one behind the other
    Weight gate_scale;      // [experts]
    int64_t experts = 0, used = 0;

    static constexpr std::string_view kKind = "experts";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("ids", self.ids);
        member("shares", self.shares);
        member("y", self.y);
        member("gate", self.gate);
        member("up", self.up);
        member("down", self.down);
        member("gate_scale", self.gate_scale);
        member("experts", self.experts);
        member("used", self.used);
    }
    bool operator==(const Experts&) const = default;
};

// Keeps the rows that the logits need. A hint: the oracle computes all rows.
struct LastRow {
    Input x;
    Output y;

    static constexpr std::string_view kKind = "last_row";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
    }
    bool operator==(const LastRow&) const = default;
};

}  // namespace ops

using PrimitiveOp =
    std::variant<ops::Embed, ops::RmsNorm, ops::Linear, ops::Scale, ops::Add, ops::SiluMul,
                 ops::SigmoidMul, ops::ScaleBySigmoid, ops::HeadRmsNorm, ops::Rope, ops::SplitHeads,
                 ops::Attention, ops::CausalConv, ops::DeltaNet, ops::GatedRmsNorm, ops::Router,
                 ops::ScaleShares, ops::Experts, ops::LastRow>;

}  // namespace hetune
