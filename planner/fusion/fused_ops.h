// The fused operations: those that fusion rules make of primitive ones (planner/graph/ops.h), and
// that only kernels know. The oracle never sees one. A new kind does not compile before lowerings
// and trials know it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "planner/graph/ops.h"

namespace hetune {
namespace ops {

// y = rmsnorm of the operation's first output. The kernel leaves out the factor 1 / rms, which the
// readers of y apply (planner/lower/normed.h).
struct NextNorm {
    Output y;
    Weight weight;
    double eps = 0;

    static constexpr void members(auto& self, auto&& member) {
        member("y", self.y);
        member("weight", self.weight);
        member("eps", self.eps);
    }
    bool operator==(const NextNorm&) const = default;
};

// Embed, and the norm of its output.
struct EmbedNorm {
    Output y;
    Weight table;
    NextNorm next;

    static constexpr std::string_view kKind = "embed_norm";
    static constexpr void members(auto& self, auto&& member) {
        member("y", self.y);
        member("table", self.table);
        member("next", self.next);
    }
    bool operator==(const EmbedNorm&) const = default;
};

// One product of several with the same input: y = W x (+ bias).
struct FanProduct {
    Output y;
    Weight weight, bias;

    static constexpr void members(auto& self, auto&& member) {
        member("y", self.y);
        member("weight", self.weight);
        member("bias", self.bias);
    }
    bool operator==(const FanProduct&) const = default;
};

// Up to four Linear of one input, all with a bias or all without.
struct LinearFan {
    Input x;
    std::vector<FanProduct> products;

    static constexpr std::string_view kKind = "linear_fan";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("products", self.products);
    }
    bool operator==(const LinearFan&) const = default;
};

// y = silu(gate x) * (up x)
struct Swiglu {
    Input x;
    Output y;
    Weight gate, up;

    static constexpr std::string_view kKind = "swiglu";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("y", self.y);
        member("gate", self.gate);
        member("up", self.up);
    }
    bool operator==(const Swiglu&) const = default;
};

// y = W x + residual
struct LinearAdd {
    Input x, residual;
    Output y;
    Weight weight;

    static constexpr std::string_view kKind = "linear_add";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("residual", self.residual);
        member("y", self.y);
        member("weight", self.weight);
    }
    bool operator==(const LinearAdd&) const = default;
};

// LinearAdd, and the norm of its output.
struct LinearAddNorm {
    Input x, residual;
    Output y;
    Weight weight;
    NextNorm next;

    static constexpr std::string_view kKind = "linear_add_norm";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("residual", self.residual);
        member("y", self.y);
        member("weight", self.weight);
        member("next", self.next);
    }
    bool operator==(const LinearAddNorm&) const = default;
};

// HeadRmsNorm of q and k (where there is q_norm), Rope of both, and Attention. Gated: q is what
// SplitHeads takes, and y is multiplied by the sigmoid of q's other half.
struct AttentionStep {
    Input q, k, v;
    Output y;
    Weight q_norm, k_norm;
    int64_t heads = 0, kv_heads = 0, head_size = 0;
    double scale = 0;
    int kv = 0;
    double eps = 0;  // of the norms
    int64_t rotary = 0;
    bool interleaved = false, gated = false;

    static constexpr std::string_view kKind = "attention_step";
    static constexpr void members(auto& self, auto&& member) {
        member("q", self.q);
        member("k", self.k);
        member("v", self.v);
        member("y", self.y);
        member("q_norm", self.q_norm);
        member("k_norm", self.k_norm);
        member("heads", self.heads);
        member("kv_heads", self.kv_heads);
        member("head_size", self.head_size);
        member("scale", self.scale);
        member("kv", self.kv);
        member("eps", self.eps);
        member("rotary", self.rotary);
        member("interleaved", self.interleaved);
        member("gated", self.gated);
    }
    bool operator==(const AttentionStep&) const = default;
};

// CausalConv of qkv, DeltaNet, and GatedRmsNorm of its output with `gate`.
struct DeltaStep {
    Input qkv, a, b, gate;
    Output y;
    Weight conv, ssm_a, dt_bias, norm;
    int64_t taps = 0, key_heads = 0, value_heads = 0, key_size = 0, value_size = 0;
    double eps = 0, norm_eps = 0;
    int state = 0;

    static constexpr std::string_view kKind = "delta_step";
    static constexpr void members(auto& self, auto&& member) {
        member("qkv", self.qkv);
        member("a", self.a);
        member("b", self.b);
        member("gate", self.gate);
        member("y", self.y);
        member("conv", self.conv);
        member("ssm_a", self.ssm_a);
        member("dt_bias", self.dt_bias);
        member("norm", self.norm);
        member("taps", self.taps);
        member("key_heads", self.key_heads);
        member("value_heads", self.value_heads);
        member("key_size", self.key_size);
        member("value_size", self.value_size);
        member("eps", self.eps);
        member("norm_eps", self.norm_eps);
        member("state", self.state);
    }
    bool operator==(const DeltaStep&) const = default;
};

// An expert that every token uses: down (silu(gate x) * up x), times sigmoid(share x) where there
// is `share`.
struct SharedExpert {
    Weight gate, up, down;
    Weight share;

    static constexpr void members(auto& self, auto&& member) {
        member("gate", self.gate);
        member("up", self.up);
        member("down", self.down);
        member("share", self.share);
    }
    bool operator==(const SharedExpert&) const = default;
};

// y = residual + experts(x) (+ shared expert(x)), and the norm of y. x is the RmsNorm of `residual`
// by `norm`, with whose factor the router multiplies where x lacks it.
struct MoeStep {
    Input x, residual;
    Output y;
    Weight gate, up, down, router, norm;
    std::optional<SharedExpert> shared;
    std::optional<NextNorm> next;
    int64_t experts = 0, used = 0;
    bool renormalise = false;

    static constexpr std::string_view kKind = "moe_step";
    static constexpr void members(auto& self, auto&& member) {
        member("x", self.x);
        member("residual", self.residual);
        member("y", self.y);
        member("gate", self.gate);
        member("up", self.up);
        member("down", self.down);
        member("router", self.router);
        member("norm", self.norm);
        member("shared", self.shared);
        member("next", self.next);
        member("experts", self.experts);
        member("used", self.used);
        member("renormalise", self.renormalise);
    }
    bool operator==(const MoeStep&) const = default;
};

}  // namespace ops

using FusedOp = std::variant<ops::EmbedNorm, ops::LinearFan, ops::Swiglu, ops::LinearAdd,
                             ops::LinearAddNorm, ops::AttentionStep, ops::DeltaStep, ops::MoeStep>;

namespace ops::detail {

template <class... A, class... B>
std::variant<A..., B...> either(const std::variant<A...>&, const std::variant<B...>&);

}  // namespace ops::detail

// Any operation.
using Op = decltype(ops::detail::either(std::declval<PrimitiveOp>(), std::declval<FusedOp>()));

}  // namespace hetune
