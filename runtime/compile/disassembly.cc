#include "runtime/compile/disassembly.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "kernel_templates/quant/registry.h"
#include "runtime/compile/compiler.h"
#include "runtime/compile/compiler_end.h"
#include "runtime/compile/library_compiler.h"
#include "runtime/compile/object_file.h"
#include "runtime/compile/worker_pool.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

constexpr int kNewestLlvm = 40, kOldestLlvm = 17;  // 17 is the first LLVM to know gfx1151

bool holds(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

void count_amd(std::string_view text, InstructionMix& mix) {
    const bool wide = holds(text, "_load_b128") || holds(text, "_load_dwordx4");
    const bool lane_move = holds(text, "_dpp") || holds(text, "permlane") || holds(text, "row_") ||
                           text.starts_with("ds_bpermute") || text.starts_with("ds_permute") ||
                           text.starts_with("ds_swizzle");
    mix.dot4 += holds(text, "v_dot4");
    mix.matrix += holds(text, "v_wmma") || holds(text, "v_swmmac");
    mix.wide_loads += wide && !text.starts_with("s_") && !text.starts_with("ds_");
    mix.lane_moves += lane_move;
    mix.lds += text.starts_with("ds_") && !lane_move;
    const bool wait = text.starts_with("s_wait");
    mix.waits += wait;
    mix.scalar += text.starts_with("s_") && !wait;
}

// AT&T order: a load holds its memory operand first, "vmovups (%rdi), %ymm0".
void count_x86(std::string_view text, InstructionMix& mix) {
    mix.dot4 += text.starts_with("vpdpbus") || text.starts_with("vpmaddubsw");
    const size_t memory = text.find('('), comma = text.rfind(',');
    const bool vector = holds(text, "%xmm") || holds(text, "%ymm") || holds(text, "%zmm");
    mix.wide_loads += vector && memory != text.npos && comma != text.npos && memory < comma;
}

std::optional<fs::path> find_llvm(const Environment& environment) {
    if (!environment.llvm.empty()) return fs::path(environment.llvm);
    std::vector<std::string> names;
    std::vector<fs::path> folders;
    for (int version = kNewestLlvm; version >= kOldestLlvm; --version) {
        names.push_back(version >= 18 ? fmt::format("libLLVM.so.{}.1", version)
                                      : fmt::format("libLLVM-{}.so.1", version));
        folders.emplace_back(fmt::format("/usr/lib/llvm-{}/lib", version));
    }
    return find_library(names, folders);
}

class LlvmDisassembler final : public Disassembler {
  public:
    LlvmDisassembler(const fs::path& library, const Environment& environment)
        : library_(library),
          pool_({.argv = {worker_program(environment).string(), "llvm", library.string()},
                 .settings = {},
                 .limit = environment.compile_timeout,
                 .cache_folder = environment.cache_folder,
                 .most = [] { return 2; }}) {}

    std::string identity() const override {
        return "llvm " + text_field(ask("describe", "", "gfx1100", {}), "version");
    }

    std::string listing(const CodeObject& code, const Arch& arch) override {
        if (!arch.code_is_readable) return {};
        const auto machine_code = kernel_code(code.bytes, code.entry);
        return ask("compile", code.entry, arch.name,
                   {reinterpret_cast<const char*>(machine_code.data()), machine_code.size()})
            .body;
    }

  private:
    WorkerMessage ask(const char* what, const std::string& entry, const std::string& arch,
                      std::string code) const {
        const std::string line = fmt::format("disassembling {} for {}", entry, arch);
        WorkerMessage answer;
        try {
            answer = pool_.call({{{"do", what},
                                  {"entry", entry},
                                  {"arch", arch},
                                  {"options", nlohmann::json::array()}},
                                 std::move(code)});
        } catch (const WorkerFailure& failure) {
            throw CompileError(CompileError::Cause::kKilled,
                               fmt::format("{}: {}", line, failure.what()), failure.log());
        } catch (const std::system_error& error) {
            throw CompileError(CompileError::Cause::kLimit,
                               fmt::format("{}: {}", line, read_start_failure(error).line));
        }
        if (text_field(answer, "status") != "done")
            throw CompileError(CompileError::Cause::kNoCompiler,
                               fmt::format("{} with {}: {}", line, library_.string(),
                                           text_field(answer, "error")));
        return answer;
    }

    fs::path library_;
    mutable WorkerPool pool_;
};

}  // namespace

nlohmann::ordered_json to_json(const InstructionMix& mix) {
    return {{"total", mix.total},           {"dot4", mix.dot4},
            {"matrix", mix.matrix},         {"wide_loads", mix.wide_loads},
            {"lane_moves", mix.lane_moves}, {"lds", mix.lds},
            {"scalar", mix.scalar},         {"waits", mix.waits},
            {"unknown", mix.unknown}};
}

InstructionMix count_instructions(std::string_view listing) {
    InstructionMix mix;
    while (!listing.empty()) {
        const size_t end = std::min(listing.find('\n'), listing.size());
        std::string_view text = listing.substr(0, end);
        listing.remove_prefix(std::min(end + 1, listing.size()));
        const size_t start = text.find('\t');
        if (start == text.npos) continue;
        text.remove_prefix(start + 1);
        ++mix.total;
        mix.unknown += text.starts_with("<unknown>");
        // No text of one counts as an instruction of the other.
        count_amd(text, mix);
        count_x86(text, mix);
    }
    return mix;
}

std::unique_ptr<Disassembler> find_disassembler(const Environment& environment) {
    const auto library = find_llvm(environment);
    if (!library) return nullptr;
    try {
        auto disassembler = std::make_unique<LlvmDisassembler>(*library, environment);
        disassembler->identity();
        return disassembler;
    } catch (const CompileError&) {
        return nullptr;
    }
}

bool are_checked(const TemplatePromises& promises, const Arch& arch) {
    return arch.code_is_readable &&
           ((promises.dot4 && arch.has_dot4) || (promises.matrix && arch.has_matrix) ||
            (promises.wide_loads && arch.has_wide_loads));
}

void check_promises(const InstructionMix& mix, const KernelSpec& spec, const Arch& arch) {
    const TemplateInfo* info = find_template(spec.name);
    if (info == nullptr || !are_checked(info->promises, arch)) return;
    auto value = [&](const char* constant) {
        const auto at = spec.constants.find(constant);
        return at == spec.constants.end() ? std::string() : at->second;
    };
    auto refuse = [&](const char* what) {
        throw CompileError(CompileError::Cause::kGate,
                           fmt::format("{} for {}: its {} instructions hold no {}",
                                       spec.to_string(), arch.name, mix.total, what));
    };
    const QuantFormat* format = find_quant(value("Quant"));
    const bool integer =
        format != nullptr && format->integer && value("kQuantisedInput") != "false";
    const bool by_matrix = value("kMatrix") == "true";
    if (info->promises.dot4 && integer && !by_matrix && arch.has_dot4 && mix.dot4 == 0)
        refuse("4 x int8 dot product");
    if ((info->promises.matrix || by_matrix) && arch.has_matrix && mix.matrix == 0)
        refuse("matrix instruction");
    if (info->promises.wide_loads && arch.has_wide_loads && mix.wide_loads == 0)
        refuse("128-bit load");
}

}  // namespace hetune
