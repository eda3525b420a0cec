#include "planner/graph/models/unused.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

namespace hetune {
namespace {

using Test = std::function<bool(const MetaValue&)>;

Test one_of(std::vector<double> values) {
    return [values = std::move(values)](const MetaValue& value) {
        const auto number = value.number();
        const auto* flag = std::get_if<bool>(&value.value);
        const double as_number = flag ? (*flag ? 1.0 : 0.0) : number.value_or(NAN);
        return std::ranges::find(values, as_number) != values.end();
    };
}

// Hyper-parameters that no op reads, and the values with which they change nothing. A key without
// a test changes nothing whatever its value: it counts or describes, or is of training.
const std::map<std::string, Test, std::less<>>& harmless_keys() {
    static const std::map<std::string, Test, std::less<>> keys = {
        // Counts and descriptions.
        {"vocab_size", {}},           // the embedding has the rows
        {"feed_forward_length", {}},  // of the dense part that a mixture of experts lacks
        {"tensor_data_layout", {}},   // how the converter ordered q and k; the tensors are so
        {"rope.scaling.finetuned", {}},
        {"rope.scaling.original_context_length", {}},  // YaRN reads it
        {"attention.layer_norm_epsilon", {}},          // of LayerNorm; these models have RMSNorm
        {"embedding_length_out", {}},                  // of embedding models, behind the logits
        {"expert_shared_count", {}},                   // the tensors of the shared expert tell
        // Switches and factors that leave things as they are.
        {"attention.causal", one_of({1})},
        {"pooling_type", one_of({0, 1, 3})},  // Model::embed() reads it
        {"use_parallel_residual", one_of({0})},
        {"attention.scale", one_of({0})},
        {"attention.clamp_kqv", one_of({0})},
        {"attention.max_alibi_bias", one_of({0})},
        {"attention.sliding_window", one_of({0})},
        {"attn_logit_softcapping", one_of({0})},
        {"final_logit_softcapping", one_of({0})},
        {"logit_scale", one_of({0, 1})},
        {"embedding_scale", one_of({0, 1})},
        {"residual_scale", one_of({0, 1})},
        {"expert_count", one_of({0})},
        {"expert_used_count", one_of({0})},
        {"expert_group_count", one_of({0, 1})},
        {"expert_group_used_count", one_of({0, 1})},
        {"expert_feed_forward_length", one_of({0})},
        {"expert_shared_feed_forward_length", one_of({0})},
        {"expert_gating_func", one_of({0, 1})},  // 1: softmax, which the router computes
        {"expert_weights_norm", one_of({1})},    // shares add up to 1, as the router makes them
        {"expert_weights_scale", one_of({0, 1})},
        {"leading_dense_block_count", one_of({0})},
        {"interleave_moe_layer_step", one_of({0, 1})},
        {"moe_every_n_layers", one_of({0, 1})},
        {"rope.scaling.alpha", one_of({0, 1})},
        {"rope.scaling.yarn_log_multiplier", one_of({0})},
        {"rope.scaling.yarn_ext_factor", one_of({-1, 1})},
        {"rope.scaling.yarn_beta_fast", one_of({32})},  // as DecoderBuilder::set_rope has them
        {"rope.scaling.yarn_beta_slow", one_of({1})},
        {"rope.scaling.yarn_attn_factor", one_of({1})},
        {"nextn_predict_layers", one_of({0})},
        {"full_attention_interval", one_of({1})},
        {"swin_norm", one_of({0})},
    };
    return keys;
}

bool is_harmless(const std::string& key, const MetaValue& value, const LayerGraph& graph) {
    if (const auto found = harmless_keys().find(key); found != harmless_keys().end())
        if (!found->second || found->second(value)) return true;
    const auto number = value.number();
    if (key == "attention.sliding_window")  // no token of the context lies outside of it
        return number && *number >= static_cast<double>(graph.trained_context);
    if (key == "attention.scale")  // as the attention has it
        return number && std::ranges::all_of(graph.ops, [&](const PrimitiveOp& op) {
                   const auto* attention = std::get_if<ops::Attention>(&op);
                   return attention == nullptr || std::abs(*number / attention->scale - 1.0) < 1e-6;
               });
    return false;
}

std::string text_of(const MetaValue& value) {
    if (const auto* flag = std::get_if<bool>(&value.value)) return *flag ? "true" : "false";
    if (const auto* text = std::get_if<std::string>(&value.value)) return "'" + *text + "'";
    if (std::holds_alternative<MetaArray>(value.value)) return "a list";
    return fmt::format("{}", value.number().value_or(NAN));
}

// N of "blk.N.*"; -1 for another name.
int block_of(std::string_view tensor) {
    constexpr std::string_view kStart = "blk.";
    int block = -1;
    if (tensor.starts_with(kStart))
        std::from_chars(tensor.data() + kStart.size(), tensor.data() + tensor.size(), block);
    return block;
}

// Blocks of multi-token prediction have tensors of their own kind.
bool is_predicting(const ModelFile& file, int block) {
    return file.find_tensor(fmt::format("blk.{}.nextn.eh_proj.weight", block)) != nullptr;
}

bool is_harmless(const ModelFile& file, const Tensor& tensor, const LayerGraph& graph, int blocks) {
    // For activations in 4 bits on other engines; the product of floats does not need it.
    if (tensor.name.ends_with(".input_scale")) return true;
    const int block = block_of(tensor.name);
    return block >= graph.layers && block < blocks && is_predicting(file, block);
}

// Keys of this program's kind that stand under another name than the architecture's: a model that
// was renamed by hand. Keys of the people who made the file have names of their own.
bool is_misplaced(const std::string& key, const std::set<std::string>& keys,
                  const std::string& architecture) {
    const size_t dot = key.find('.');
    return dot != std::string::npos && keys.contains(architecture + key.substr(dot));
}

}  // namespace

std::vector<std::string> unused_parts(const ModelFile& file, const LayerGraph& graph,
                                      const std::set<std::string>& keys, int blocks) {
    std::vector<std::string> unused;
    const std::string architecture = file.get_string("general.architecture");
    for (const auto& [key, value] : file.metadata()) {
        if (keys.contains(key)) continue;
        const bool own = key.starts_with(architecture + ".");
        if (own ? !is_harmless(key.substr(architecture.size() + 1), value, graph)
                : is_misplaced(key, keys, architecture))
            unused.push_back(fmt::format("{} = {}", key, text_of(value)));
    }
    std::set<std::string, std::less<>> read;
    for (const PrimitiveOp& op : graph.ops)
        for (const std::string& weight : weights_of(op))
            read.insert(weight.substr(0, weight.find('[')));
    if (!graph.rope_divisors.empty()) read.insert(graph.rope_divisors);
    for (const Tensor& tensor : file.tensors())
        if (!read.contains(tensor.name) && !is_harmless(file, tensor, graph, blocks))
            unused.push_back(block_of(tensor.name) >= blocks
                                 ? fmt::format("{} (block_count is {})", tensor.name, blocks)
                                 : tensor.name);
    return unused;
}

}  // namespace hetune
