// Types of metadata values, by their numbers in the file.
// Source: docs/gguf.md of ggml, gguf_metadata_value_type.
#pragma once

#include <cstdint>

namespace hetune::gguf_values {

enum ValueType : uint32_t {
    kU8,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kF32,
    kBool,
    kString,
    kArray,
    kU64,
    kI64,
    kF64
};

}  // namespace hetune::gguf_values
