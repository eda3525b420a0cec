// What a code object says of itself: ELF notes, symbols, build ids.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "cache/code_object.h"

namespace hetune {

// Resources of the one kernel `entry` of an ELF object, by the machine that its header names. AMD:
// from the metadata note (msgpack, see the LLVM "User Guide for AMDGPU Backend", code object
// metadata V5). NVIDIA: from the sections of the cubin; its stack frame, which is where spills go,
// counts as scratch. Throws std::runtime_error when the bytes are no such object or hold no such
// kernel.
KernelResources read_resources(std::span<const std::byte> object, const std::string& entry);

// The machine code of the kernel `entry`; empty when there is none.
std::span<const std::byte> kernel_code(std::span<const std::byte> object, const std::string& entry);

// The GNU build id in hex, or a content hash where there is none; empty when the file cannot be
// read.
std::string build_id(const std::filesystem::path& file);

}  // namespace hetune
