// What is inside a code object: its instructions, and whether they are those that the template
// promises. The disassembler is LLVM's, in a worker process.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "cache/code_object.h"
#include "kernel_templates/catalogue.h"
#include "planner/plan/arch.h"
#include "runtime/compile/environment.h"

namespace hetune {

// Counts over the text of a kernel, not over its execution.
struct InstructionMix {
    int total = 0;
    int dot4 = 0;        // v_dot4_*; vpdpbusd, vpmaddubsw
    int matrix = 0;      // v_wmma_*
    int wide_loads = 0;  // 128-bit loads from memory; into xmm, ymm or zmm
    int lane_moves = 0;  // DPP, permlane, ds_bpermute, ds_swizzle
    int lds = 0;         // ds_*, but for lane moves
    int scalar = 0;      // s_*, but for waits
    int waits = 0;       // s_waitcnt*, s_wait_*
    int unknown = 0;     // no instructions to this disassembler

    bool operator==(const InstructionMix&) const = default;
};

nlohmann::ordered_json to_json(const InstructionMix& mix);

// `listing` as Disassembler gives it.
InstructionMix count_instructions(std::string_view listing);

// Safe to call from several threads.
class Disassembler {
  public:
    virtual ~Disassembler() = default;
    virtual std::string identity() const = 0;  // "llvm 19.1.7"
    // One instruction a line: offset in hex, a tab, mnemonic and operands. Empty where
    // Arch::code_is_readable is false. Throws CompileError when the worker fails.
    virtual std::string listing(const CodeObject& code, const Arch& arch) = 0;
};

// Empty where there is no LLVM (apt install libllvm19) or no worker program.
std::unique_ptr<Disassembler> find_disassembler(const Environment& environment);

// True where the arch has an instruction that `promises` names and LLVM can read the arch's code.
bool are_checked(const TemplatePromises& promises, const Arch& arch);

// The gate on instructions: what TemplateInfo::promises says, where the arch has it. dot4 is due
// for integer formats with 8-bit activations; where kMatrix is true, a matrix instruction is due in
// its place. Throws CompileError{kGate}.
void check_promises(const InstructionMix& mix, const KernelSpec& spec, const Arch& arch);

}  // namespace hetune
