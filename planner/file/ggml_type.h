// Element types of GGUF tensors: the numbers, names and block sizes of the public GGUF definition.
#pragma once

#include <cstdint>
#include <string_view>

namespace hetune {

struct GgmlType {
    uint32_t id;
    const char* name;
    int64_t block_elems;
    int64_t block_bytes;
};

// nullptr for a number that GGUF does not define (or no longer does).
const GgmlType* find_ggml_type(uint32_t id);
const GgmlType* find_ggml_type(std::string_view name);

// The name of a type that hetune cannot lay out, newer ones and those that GGUF gave up; "" for a
// number that nobody has given out.
const char* name_of_foreign_type(uint32_t id);

}  // namespace hetune
