// Qwen3 with experts: the attention of qwen3, top-k of a softmax router, renormalised.
// GGUF names as llama.cpp's converter writes them.
#include "planner/graph/models/transformer.h"

namespace hetune {
namespace {

const RegisterModel kQwen3moe("qwen3moe", [](const ModelFile& file) {
    return build_transformer(file, {.head_norm = true, .file = {.experts = true, .dense = false}});
});

}  // namespace
}  // namespace hetune
