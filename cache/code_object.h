// What a compiler made of one kernel, and what is known about it. A plain value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hetune {

// Read from the object itself (ELF notes, symbols, kernel descriptor; cubin info), never guessed.
// -1: the target does not say.
struct KernelResources {
    int vgprs = -1;
    int sgprs = -1;
    int lds_bytes = -1;
    int scratch_bytes = -1;  // per lane
    int spilled_vgprs = -1;
    int spilled_sgprs = -1;
    int max_threads = -1;
    int64_t code_bytes = -1;

    bool operator==(const KernelResources&) const = default;
};

struct CodeObject {
    std::vector<std::byte> bytes;
    std::string entry;  // the symbol to launch
    KernelResources resources;
    double compile_ms = 0;  // what a hit saves; kept for `hetune cache stats`

    bool operator==(const CodeObject&) const = default;
};

}  // namespace hetune
