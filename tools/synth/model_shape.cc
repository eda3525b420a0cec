#include "tools/synth/model_shape.h"

#include <fmt/format.h>

namespace hetune {
namespace {

// Appends tensors, those of one layer with its prefix.
class TensorList {
  public:
    std::vector<ShapedTensor> tensors;
    int layer = -1;

    void matrix(const std::string& name, int64_t cols, int64_t rows, int64_t count = 0) {
        add(name + ".weight", {cols, rows}, TensorFill::kMatrix, true);
        if (count > 0) tensors.back().dims.push_back(count);
    }
    void floats(const std::string& name, std::vector<int64_t> dims, TensorFill fill) {
        add(name, std::move(dims), fill, false);
    }
    void norm(const std::string& name, int64_t size) {
        floats(name + ".weight", {size}, TensorFill::kNorm);
    }

  private:
    void add(const std::string& name, std::vector<int64_t> dims, TensorFill fill, bool quantised) {
        tensors.push_back({layer < 0 ? name : fmt::format("blk.{}.{}", layer, name),
                           std::move(dims), fill, quantised, layer});
    }
};

void attention(TensorList& list, const ModelShape& s, bool gated, bool biases, bool head_norms) {
    const int64_t q = s.heads * s.head_size, kv = s.kv_heads * s.head_size;
    list.matrix("attn_q", s.hidden, gated ? 2 * q : q);
    list.matrix("attn_k", s.hidden, kv);
    list.matrix("attn_v", s.hidden, kv);
    list.matrix("attn_output", q, s.hidden);
    if (biases) {
        list.floats("attn_q.bias", {q}, TensorFill::kBias);
        list.floats("attn_k.bias", {kv}, TensorFill::kBias);
        list.floats("attn_v.bias", {kv}, TensorFill::kBias);
    }
    if (!head_norms) return;
    list.norm("attn_q_norm", s.head_size);
    list.norm("attn_k_norm", s.head_size);
}

void delta_net(TensorList& list, const ModelShape& s) {
    const int64_t values = s.value_heads * s.state_size;
    const int64_t channels = 2 * s.key_heads * s.state_size + values;
    list.matrix("attn_qkv", s.hidden, channels);
    list.matrix("attn_gate", s.hidden, values);
    list.matrix("ssm_alpha", s.hidden, s.value_heads);
    list.matrix("ssm_beta", s.hidden, s.value_heads);
    list.floats("ssm_conv1d.weight", {s.taps, channels}, TensorFill::kConv);
    list.floats("ssm_a", {s.value_heads}, TensorFill::kDecay);
    list.floats("ssm_dt.bias", {s.value_heads}, TensorFill::kDtBias);
    list.norm("ssm_norm", s.state_size);
    list.matrix("ssm_out", values, s.hidden);
}

void feed_forward(TensorList& list, const ModelShape& s) {
    if (s.experts == 0) {
        list.matrix("ffn_gate", s.hidden, s.inner);
        list.matrix("ffn_up", s.hidden, s.inner);
        list.matrix("ffn_down", s.inner, s.hidden);
        return;
    }
    list.floats("ffn_gate_inp.weight", {s.hidden, s.experts}, TensorFill::kMatrix);
    list.matrix("ffn_gate_exps", s.hidden, s.expert_inner, s.experts);
    list.matrix("ffn_up_exps", s.hidden, s.expert_inner, s.experts);
    list.matrix("ffn_down_exps", s.expert_inner, s.hidden, s.experts);
    if (s.shared_inner == 0) return;
    list.floats("ffn_gate_inp_shexp.weight", {s.hidden}, TensorFill::kMatrix);
    list.matrix("ffn_gate_shexp", s.hidden, s.shared_inner);
    list.matrix("ffn_up_shexp", s.hidden, s.shared_inner);
    list.matrix("ffn_down_shexp", s.shared_inner, s.hidden);
}

}  // namespace

std::vector<ShapedTensor> tensors_of(const ModelShape& shape) {
    const bool hybrid = shape.key_heads > 0;
    TensorList list;
    list.matrix("token_embd", shape.hidden, shape.vocabulary);
    list.norm("output_norm", shape.hidden);
    if (!shape.tied) list.matrix("output", shape.hidden, shape.vocabulary);
    if (shape.rope_factor > 0)
        list.floats("rope_freqs.weight", {(shape.rotary > 0 ? shape.rotary : shape.head_size) / 2},
                    TensorFill::kRopeFreqs);
    for (list.layer = 0; list.layer < shape.layers + shape.predicting_layers; ++list.layer) {
        const bool predicting = list.layer >= shape.layers;
        list.norm("attn_norm", shape.hidden);
        if (hybrid && !predicting && (list.layer + 1) % shape.attention_interval != 0)
            delta_net(list, shape);
        else
            attention(list, shape, hybrid, shape.architecture == "qwen2",
                      hybrid || shape.architecture.starts_with("qwen3"));
        list.norm(hybrid ? "post_attention_norm" : "ffn_norm", shape.hidden);
        feed_forward(list, shape);
        if (!predicting) continue;
        list.matrix("nextn.eh_proj", 2 * shape.hidden, shape.hidden);
        list.norm("nextn.enorm", shape.hidden);
        list.norm("nextn.hnorm", shape.hidden);
    }
    return std::move(list.tensors);
}

}  // namespace hetune
