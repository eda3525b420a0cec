// The kernels of a plan, compiled: what `hetune plan --source, --isa, --resources and --dump` show.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "planner/plan/plan_text.h"
#include "runtime/compile/disassembly.h"
#include "runtime/compile/kernel_library.h"

namespace hetune {

// Of `kernels`, the one of this name. Throws std::runtime_error that lists them all.
const NamedKernel& find_kernel(const std::vector<NamedKernel>& kernels, const std::string& name);

struct CompiledKernel {
    CodeObject code;
    std::string refused;  // why the gates refuse it; empty: they do not
};

// Through the cache; also what the gates refuse, which is not stored. Throws CompileError.
CompiledKernel compile_kernel(KernelLibrary& library, const KernelSpec& spec);

// So that compile_kernel finds them: compiled with as many compilers at once as the library may.
void compile_ahead(KernelLibrary& library, const std::vector<NamedKernel>& kernels);

// A table row for each kernel, and its heading.
std::string resources_heading();
std::string resources_line(const std::string& name, const CompiledKernel& kernel);

nlohmann::ordered_json resources_json(const KernelResources& resources);  // -1: unknown
// Of groups of this many threads; null where registers are unknown.
nlohmann::ordered_json occupancy_json(const KernelResources& resources, const Arch& arch,
                                      uint32_t threads);
// "212 instructions: 16 dot4, ..."
std::string instructions_line(const InstructionMix& mix);

// For each kernel NAME.hip (its source), NAME.co (its code object), NAME.s (its disassembly) and
// NAME.json: entry, constants, launch shape, arguments in order, resources, occupancy, instruction
// mix. Makes the folder.
// Without a disassembler, or for NVIDIA, there is no .s. Gives one line for each kernel that could
// not be compiled, which has no .co then.
std::vector<std::string> dump_kernels(const std::vector<const Plan*>& plans, KernelLibrary& library,
                                      Disassembler* disassembler,
                                      const std::filesystem::path& folder);

}  // namespace hetune
