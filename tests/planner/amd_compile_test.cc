// All kernels of a model's plans, compiled for the AMD archs we claim: no spill, no scratch, LDS
// within bounds. Needs no GPU, and of the large models no weights.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "cache/code_store.h"
#include "planner/graph/layer_graph.h"
#include "planner/make_plan.h"
#include "planner/plan/plan.h"
#include "runtime/compile/kernel_library.h"
#include "tests/run_store.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

// Kernels of decode, alone and in batches, prefill and verification, fused and not, and the
// sampler.
std::vector<KernelSpec> kernels_of(const ModelFile& file, const Arch& arch) {
    const LayerGraph graph = build_layer_graph(file);
    std::map<std::string, KernelSpec> specs;
    auto add = [&](const Plan& plan) {
        for (const KernelSpec& spec : plan.kernels) specs.emplace(spec.to_string(), spec);
    };
    for (const int rows : {1, 64, 512})
        for (const bool fusion : {true, false}) {
            for (const bool matrix : {false, true}) {
                const PlanOptions options{.rows = rows, .fusion = fusion, .matrix = matrix};
                add(make_plan(graph, file, arch, options));
                add(make_sampler_plan(graph.vocabulary, arch, options, true));
            }
        }
    for (const int sequences : {4, 8, 16})
        add(make_plan(graph, file, arch, {.rows = sequences, .sequences = sequences}));
    std::vector<KernelSpec> list;
    for (auto& [name, spec] : specs) list.push_back(std::move(spec));
    return list;
}

void compile_all(const ModelFile& file, const char* arch_name) {
    const Arch& arch = find_arch(arch_name);
    CodeStore store({.folder = run_store()});
    KernelLibrary library(arch, store, read_environment(), "clang");
    const std::vector<KernelSpec> specs = kernels_of(file, arch);
    const std::vector<CodeObject> codes = library.get(specs);  // throws where a gate fails
    REQUIRE(codes.size() == specs.size());
    int largest = 0;
    for (size_t i = 0; i < codes.size(); ++i) {
        const KernelResources& r = codes[i].resources;
        CAPTURE(specs[i].to_string());
        CHECK(r.spilled_vgprs == 0);
        CHECK(r.spilled_sgprs == 0);
        CHECK(r.scratch_bytes == 0);
        CHECK(r.lds_bytes <= arch.lds_bytes_per_group);
        CHECK(r.vgprs > 0);
        largest = std::max(largest, r.vgprs);
    }
    MESSAGE(std::string(arch_name), ": ", codes.size(), " kernels, at most ", largest, " VGPRs");
}

ModelFile synthetic_header(const std::string& like) {
    const auto path =
        std::filesystem::temp_directory_path() / fmt::format("hetune-{}-{}.gguf", like, getpid());
    write_synthetic(find_shape(like), {.quant = "Q4_K_M", .header_only = true}, path.string());
    ModelFile file(path, ModelFile::Open::kHeaderOnly);
    std::filesystem::remove(path);
    return file;
}

TEST_CASE("every kernel of the tiny model compiles for gfx1100 and gfx1151 without a spill") {
    const ModelFile file(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf");
    for (const char* arch : {"gfx1100", "gfx1151"}) compile_all(file, arch);
}

TEST_CASE(
    "every kernel of a Qwen3-8B-shaped plan compiles for gfx1100 and gfx1151 without a spill") {
    const ModelFile file = synthetic_header("qwen3-8b");
    for (const char* arch : {"gfx1100", "gfx1151"}) compile_all(file, arch);
}

TEST_CASE("every kernel of a Qwen3.6-35B-A3B-shaped plan compiles for gfx1100 without a spill") {
    compile_all(synthetic_header("qwen3.6-35b-a3b"), "gfx1100");
}

}  // namespace
}  // namespace hetune
