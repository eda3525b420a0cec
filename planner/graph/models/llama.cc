// Llama 1 to 3 and Mistral (their converter names both so), with experts also Mixtral: rope turns
// pairs of neighbours, Llama 3 gives its divisors as rope_freqs.
// GGUF names as llama.cpp's converter writes them.
#include "planner/graph/models/transformer.h"

namespace hetune {
namespace {

const RegisterModel kLlama("llama", [](const ModelFile& file) {
    return build_transformer(file,
                             {.interleaved_rope = true,
                              .file = {.rope_freqs = true, .layer_bias = true, .experts = true}});
});

}  // namespace
}  // namespace hetune
