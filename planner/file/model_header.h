// What planning needs of a model file and nothing else, as a GGUF header: small, free of names, and
// equal for models of equal shapes, such as all fine-tunes of one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

#include "planner/file/model_file.h"

namespace hetune {

// The architecture's own metadata and the list of tensors, for ModelFile(name, header).
std::vector<std::byte> planning_header(const ModelFile& file);

// The same of a description in JSON, as `hetune inspect MODEL --json --tensors` prints it: an
// object "metadata", and a list "tensors" of "name", "type" and "shape" (the contiguous dimension
// first). Throws ModelError.
ModelFile read_model_description(const std::filesystem::path& path);

}  // namespace hetune
