// The description of a model in JSON that prewarm takes in place of a file.
#include <nlohmann/json.hpp>

#include "planner/file/model_header.h"
#include "planner/graph/layer_graph.h"
#include "tests/fuzz/fuzz.h"

namespace hetune::fuzz {
namespace {

void run(std::string_view input) {
    const std::string path = scratch_file("description.json", input);
    may_throw<ModelError>([&] { build_layer_graph(read_model_description(path)); });
}

std::vector<std::string> seeds() {
    return {R"({"metadata": {"general.architecture": "llama", "llama.block_count": 1,
 "llama.embedding_length": 64, "llama.feed_forward_length": 128, "llama.context_length": 64,
 "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1,
 "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0},
 "tensors": [{"name": "token_embd.weight", "type": "Q8_0", "shape": [64, 32]},
 {"name": "output_norm.weight", "type": "F32", "shape": [64]},
 {"name": "blk.0.attn_norm.weight", "type": "F32", "shape": [64]},
 {"name": "blk.0.attn_q.weight", "type": "Q8_0", "shape": [64, 64]},
 {"name": "blk.0.attn_k.weight", "type": "Q8_0", "shape": [64, 32]},
 {"name": "blk.0.attn_v.weight", "type": "Q8_0", "shape": [64, 32]},
 {"name": "blk.0.attn_output.weight", "type": "Q8_0", "shape": [64, 64]},
 {"name": "blk.0.ffn_norm.weight", "type": "F32", "shape": [64]},
 {"name": "blk.0.ffn_gate.weight", "type": "Q8_0", "shape": [64, 128]},
 {"name": "blk.0.ffn_up.weight", "type": "Q8_0", "shape": [64, 128]},
 {"name": "blk.0.ffn_down.weight", "type": "Q8_0", "shape": [128, 64]}]})",
            R"({"metadata": {"a": [1, -2, 0.5, true, "text"]}, "tensors": []})"};
}

const RegisterTarget kTarget({"description", run, seeds});

}  // namespace
}  // namespace hetune::fuzz
