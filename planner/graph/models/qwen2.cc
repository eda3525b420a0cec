// Qwen2 and Qwen2.5, dense: biases on q, k and v, NeoX rope, SwiGLU.
// GGUF names as llama.cpp's converter writes them.
#include "planner/graph/models/transformer.h"

namespace hetune {
namespace {

const RegisterModel kQwen2("qwen2", [](const ModelFile& file) {
    return build_transformer(file, {.file = {.output_bias = true, .inner_scale = false}});
});

}  // namespace
}  // namespace hetune
