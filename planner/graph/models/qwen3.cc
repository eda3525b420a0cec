// Qwen3, dense: grouped-query attention with per-head RMSNorm on q and k, NeoX rope, SwiGLU.
// GGUF names as llama.cpp's converter writes them.
#include "planner/graph/models/transformer.h"

namespace hetune {
namespace {

const RegisterModel kQwen3("qwen3", [](const ModelFile& file) {
    return build_transformer(file, {.head_norm = true});
});

}  // namespace
}  // namespace hetune
