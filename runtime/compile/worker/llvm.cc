// LLVM's disassembler (llvm-c/Disassembler.h, the same since LLVM 3): machine code in, a listing
// out, one instruction a line. Here, because no process that opens comgr or hipRTC, each with an
// LLVM of its own inside, may open this one.
#include <fmt/format.h>

#include <cstdint>

#include "runtime/compile/worker/library.h"

namespace hetune::worker {
namespace {

class Llvm final : public Library {
  public:
    explicit Llvm(const std::string& path) : object_(path) {
        for (const char* target : {"AMDGPU", "X86"})
            for (const char* part : {"TargetInfo", "Target", "TargetMC", "Disassembler"}) {
                void (*initialize)() = nullptr;
                object_.find(initialize, fmt::format("LLVMInitialize{}{}", target, part).c_str());
                initialize();
            }
        object_.find(version_, "LLVMGetVersion");
        object_.find(create_, "LLVMCreateDisasmCPU");
        object_.find(dispose_, "LLVMDisasmDispose");
        object_.find(next_, "LLVMDisasmInstruction");
    }

    std::string version() override {
        unsigned major = 0, minor = 0, patch = 0;
        version_(&major, &minor, &patch);
        return fmt::format("{}.{}.{}", major, minor, patch);
    }

    // The text of the source is the code. What is no instruction is listed as a 4-byte word.
    Compiled compile(const Source& source) override {
        const bool amd = source.arch.starts_with("gfx");
        const std::unique_ptr<void, void (*)(void*)> context(
            create_(amd ? "amdgcn-amd-amdhsa" : "x86_64-linux-gnu", source.arch.c_str(), nullptr, 0,
                    nullptr, nullptr),
            dispose_);
        if (context == nullptr)
            throw Refused(false, fmt::format("LLVM {} does not know {}", version(), source.arch),
                          {});
        std::string code = source.text;
        auto* bytes = reinterpret_cast<uint8_t*>(code.data());
        Compiled result;
        char text[512];
        for (size_t at = 0; at < code.size();) {
            size_t length =
                next_(context.get(), bytes + at, code.size() - at, at, text, sizeof text);
            if (length == 0) {
                length = std::min<size_t>(4, code.size() - at);
                fmt::format_to_n(text, sizeof text, "\t<unknown>{}", '\0');
            }
            result.object += fmt::format("{:06x}{}\n", at, text);
            at += length;
        }
        return result;
    }

  private:
    SharedObject object_;
    void (*version_)(unsigned*, unsigned*, unsigned*);
    void* (*create_)(const char* triple, const char* cpu, void*, int, void*, void*);
    void (*dispose_)(void*);
    size_t (*next_)(void*, uint8_t*, uint64_t, uint64_t, char*, size_t);
};

const RegisterLibrary kLlvm{
    {"llvm", [](const std::string& path) { return std::make_unique<Llvm>(path); }}};

}  // namespace
}  // namespace hetune::worker
