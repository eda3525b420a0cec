// Qwen3.5 / 3.6: gated delta net layers with a gated softmax attention layer at every
// full_attention_interval-th place; a dense or expert feed-forward part in each.
// Source: the published model code (transformers) and llama.cpp's tensor names.
#pragma once

#include "planner/graph/models/decoder.h"

namespace hetune {

LayerGraph build_hybrid(const ModelFile& file, const FileTraits& traits);

}  // namespace hetune
