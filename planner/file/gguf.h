// Reads the header of one GGUF file (v2 and v3, little endian).
// Format: the GGUF specification of the ggml project (docs/gguf.md).
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "planner/file/model_file.h"

namespace hetune {

struct GgufPart {
    uint32_t version = 0;
    std::map<std::string, MetaValue> metadata;
    std::vector<Tensor> tensors;  // their data points into `bytes`, or is empty (header_only)
};

// Every count, length, offset and product is checked against the bytes that are there. Throws
// ModelError. `header_only`: tensors may lie past the end of the bytes and get no data.
GgufPart parse_gguf(const std::filesystem::path& path, std::span<const std::byte> bytes,
                    bool header_only);

}  // namespace hetune
