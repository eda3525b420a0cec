// Every kernel of whole plans by the real hipRTC and comgr, through the worker pool and the gates,
// beside what clang makes of them. run.sh runs the clang case outside of the root, the others
// inside; HETUNE_ROCM_FOLDER is where they meet.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "planner/plan/occupancy.h"
#include "runtime/compile/kernel_library.h"
#include "tests/run_store.h"
#include "tests/runtime/emulated_models.h"
#include "tests/skip.h"

namespace hetune::testing {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kArchs[] = {"gfx1100", "gfx1151"};

// Empty where run.sh did not start this.
std::string meeting_place() {
    const char* folder = std::getenv("HETUNE_ROCM_FOLDER");
    return folder == nullptr ? "" : folder;
}

// Of decode, prefill, verification and sampling, fused and not.
std::map<std::string, KernelSpec> kernels_of(const std::string& path, const Arch& arch) {
    const ModelFile file(path, ModelFile::Open::kHeaderOnly);
    const LoadOptions sessions[] = {{}};
    std::map<std::string, KernelSpec> kernels;
    for (KernelSpec& spec : kernels_of_loads(file, arch, sessions))
        kernels.emplace(spec.to_string(), spec);
    return kernels;
}

std::map<std::string, KernelSpec> kernels_of_all_models(const Arch& arch) {
    std::map<std::string, KernelSpec> kernels =
        kernels_of(meeting_place() + "/tiny-Q4_K_M.gguf", arch);
    for (const char* like : {"qwen3-8b", "qwen3.6-35b-a3b"}) {
        const std::string path = meeting_place() + "/" + like + ".gguf";
        write_synthetic(find_shape(like), {.quant = "Q4_K_M", .header_only = true}, path);
        kernels.merge(kernels_of(path, arch));
    }
    return kernels;
}

std::vector<KernelSpec> list_of(const std::map<std::string, KernelSpec>& kernels) {
    std::vector<KernelSpec> list;
    for (const auto& [text, spec] : kernels) list.push_back(spec);
    return list;
}

Json resources_of(const CodeObject& code) {
    return {{"vgprs", code.resources.vgprs},
            {"lds_bytes", code.resources.lds_bytes},
            {"threads", code.resources.max_threads}};
}
int waves_of(const Arch& arch, const Json& resources) {
    return occupancy(arch, resources.at("vgprs"), resources.at("lds_bytes"),
                     resources.at("threads"))
        .waves_per_simd;
}

TEST_CASE("clang: resources of the plans' kernels, to compare with") {
    if (meeting_place().empty()) return skip("HETUNE_ROCM_FOLDER names no folder");
    Json all;
    for (const char* name : kArchs) {
        const Arch& arch = find_arch(name);
        CodeStore store({.folder = run_store()});
        KernelLibrary library(arch, store, read_environment(), "clang");
        const auto kernels = kernels_of_all_models(arch);
        const auto made = library.make(list_of(kernels), false);
        size_t i = 0;
        for (const auto& [text, spec] : kernels) {
            if (made[i].refused.empty()) all[name][text] = resources_of(made[i].code);
            ++i;
        }
    }
    std::ofstream(meeting_place() + "/clang.json") << all;
}

void check_plans(const std::string& compiler, const char* arch_name) {
    if (meeting_place().empty()) return skip("HETUNE_ROCM_FOLDER names no folder");
    const Arch& arch = find_arch(arch_name);
    CodeStore store{CacheOptions{}};
    KernelLibrary library(arch, store, read_environment(), compiler);
    const auto kernels = kernels_of_all_models(arch);
    const auto start = std::chrono::steady_clock::now();
    const auto made = library.make(list_of(kernels), false);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;

    std::ifstream file(meeting_place() + "/clang.json");
    const Json clang = file ? Json::parse(file) : Json::object();
    int compared = 0, fewer_waves = 0, more_waves = 0;
    std::vector<std::string> worse;
    size_t i = 0;
    for (const auto& [text, spec] : kernels) {
        const KernelLibrary::Made& one = made[i++];
        CHECK_MESSAGE(one.refused.empty(), text, ": ", one.refused);
        if (!one.refused.empty() || !clang.contains(arch_name) || !clang[arch_name].contains(text))
            continue;
        const int ours = waves_of(arch, resources_of(one.code)),
                  theirs = waves_of(arch, clang[arch_name][text]);
        ++compared;
        fewer_waves += ours < theirs;
        more_waves += ours > theirs;
        if (ours < theirs)
            worse.push_back(fmt::format("{}: {} VGPRs and {} waves a SIMD, clang {} and {}", text,
                                        one.code.resources.vgprs, ours,
                                        clang[arch_name][text]["vgprs"].get<int>(), theirs));
        // A kernel with less than half the waves was compiled in another way altogether.
        CHECK_MESSAGE(2 * ours >= theirs, text, ": ", ours, " waves a SIMD, but ", theirs,
                      " by clang");
    }
    MESSAGE(
        fmt::format("{} for {}: {} kernels in {:.1f} s; of {} that clang compiled too, {} have "
                    "fewer waves a SIMD "
                    "than clang's and {} more\n{}",
                    library.compiler().identity().substr(0, 11), arch_name, made.size(),
                    took.count(), compared, fewer_waves, more_waves, fmt::join(worse, "\n")));
}

TEST_CASE("hipRTC compiles every kernel of the tiny, 8B and 35B-A3B plans for gfx1100") {
    check_plans("hiprtc", "gfx1100");
}
TEST_CASE("hipRTC compiles every kernel of the tiny, 8B and 35B-A3B plans for gfx1151") {
    check_plans("hiprtc", "gfx1151");
}
TEST_CASE("comgr compiles every kernel of the tiny, 8B and 35B-A3B plans for gfx1100") {
    check_plans("comgr", "gfx1100");
}
TEST_CASE("comgr compiles every kernel of the tiny, 8B and 35B-A3B plans for gfx1151") {
    check_plans("comgr", "gfx1151");
}

// emulate_certify_test takes them from HETUNE_EMULATE_OBJECTS.
TEST_CASE("objects of the emulator's models are left for it") {
    if (meeting_place().empty()) return skip("HETUNE_ROCM_FOLDER names no folder");
    const Arch& arch = find_arch("gfx1100");
    for (const char* compiler : {"hiprtc", "comgr"}) {
        CodeStore store{CacheOptions{}};
        KernelLibrary library(arch, store, read_environment(), compiler);
        const fs::path folder = fs::path(meeting_place()) / "objects" / compiler;
        fs::create_directories(folder);
        std::map<std::string, KernelSpec> kernels;
        for (const EmulatedModel& model : emulated_models()) {
            const ModelFile file(written_model(model, "Q4_K_M", meeting_place()));
            for (const LoadOptions& session : model.sessions)
                for (const KernelSpec& spec :
                     model_plans(build_layer_graph(file), file, arch, session).kernels())
                    kernels.emplace(spec.to_string(), spec);
        }
        const auto specs = list_of(kernels);
        const auto codes = library.get(specs);
        for (size_t i = 0; i < specs.size(); ++i)
            std::ofstream(folder / object_file_name(library.source(specs[i])), std::ios::binary)
                .write(reinterpret_cast<const char*>(codes[i].bytes.data()),
                       static_cast<std::streamsize>(codes[i].bytes.size()));
    }
}

}  // namespace
}  // namespace hetune::testing
