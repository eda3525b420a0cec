// A whole qwen3 file of a few KiB, all weights zero: good as it is, and easy to break.
#pragma once

#include "tests/gguf_writer.h"

namespace hetune {

// One layer, hidden width 64, two heads and one KV head of 32, three tokens and 29 unused ones.
// Matrices are of `type`, a ggml type with blocks of at most 32.
inline GgufWriter small_model(uint32_t type = 0) {
    std::vector<std::string> tokens = {"a", "b", "ab"};
    while (tokens.size() < 32) tokens.push_back("<unused" + std::to_string(tokens.size()) + ">");
    GgufWriter file;
    file.set("general.architecture", "qwen3")
        .set("general.name", "small")
        .set("qwen3.block_count", 1u)
        .set("qwen3.embedding_length", 64u)
        .set("qwen3.feed_forward_length", 96u)
        .set("qwen3.context_length", 128u)
        .set("qwen3.attention.head_count", 2u)
        .set("qwen3.attention.head_count_kv", 1u)
        .set("qwen3.attention.key_length", 32u)
        .set("qwen3.attention.layer_norm_rms_epsilon", 1e-6f)
        .set("qwen3.rope.freq_base", 10000.0f)
        .set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "qwen2")
        .set("tokenizer.ggml.tokens", tokens)
        .set("tokenizer.ggml.merges", std::vector<std::string>{"a b"})
        .set("tokenizer.ggml.eos_token_id", 31u)
        .tensor({"token_embd.weight", {64, 32}, type})
        .tensor({"output_norm.weight", {64}})
        .tensor({"blk.0.attn_norm.weight", {64}})
        .tensor({"blk.0.attn_q.weight", {64, 64}, type})
        .tensor({"blk.0.attn_k.weight", {64, 32}, type})
        .tensor({"blk.0.attn_v.weight", {64, 32}, type})
        .tensor({"blk.0.attn_q_norm.weight", {32}})
        .tensor({"blk.0.attn_k_norm.weight", {32}})
        .tensor({"blk.0.attn_output.weight", {64, 64}, type})
        .tensor({"blk.0.ffn_norm.weight", {64}})
        .tensor({"blk.0.ffn_gate.weight", {64, 96}, type})
        .tensor({"blk.0.ffn_up.weight", {64, 96}, type})
        .tensor({"blk.0.ffn_down.weight", {96, 64}, type});
    return file;
}

}  // namespace hetune
