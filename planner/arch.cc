#include "planner/arch.h"

#include <fmt/format.h>

#include <stdexcept>
#include <vector>

namespace hetune {
namespace {

// Registers, granules and waves: LLVM 19, llvm/lib/Target/AMDGPU (AMDGPU.td: Feature1_5xVGPRs, and
// Utils/AMDGPUBaseInfo.cpp: getTotalNumVGPRs, getVGPRAllocGranule, getMaxWavesPerEU), checked with
// the occupancy that clang 19 prints for a kernel of 96 VGPRs (tests/planner/occupancy_test.cc).
// LDS: "RDNA3 Instruction Set Architecture" and "RDNA4 ...", chapter on the local data share:
// 128 KiB a WGP, at most 64 KiB a group. Units, bandwidth and rate: the maker's page of the card
// named as the example; a laptop or desktop APU has the memory of its fastest usual configuration.
Arch amd(const char* name, bool large_file, int units, double bandwidth, double tflops,
         const char* example, bool matrix = true) {
    return {.name = name,
            .family = ArchFamily::kAmd,
            .vgprs_per_simd = large_file ? 1536 : 1024,
            .vgpr_granule = large_file ? 24 : 16,
            .compute_units = units,
            .bandwidth_gb_s = bandwidth,
            .half_tflops = tflops,
            .has_dot4 = true,
            .has_matrix = matrix,
            .prefill_rows = matrix ? 512 : 64,
            .example = example};
}

// "CUDA C++ Programming Guide", technical specifications per compute capability: 64 K registers and
// the shared memory of an SM, and the warps it holds, here for each of its four partitions.
Arch nvidia(const char* name, int shared_kib, int warps, int units, double bandwidth, double tflops,
            const char* example) {
    return {.name = name,
            .family = ArchFamily::kNvidia,
            .lds_bytes_per_group = (shared_kib - 1) * 1024,
            .lds_bytes_per_unit = shared_kib * 1024,
            .lds_reserved_per_group = 1024,
            .vgprs_per_simd = 512,
            .vgpr_granule = 8,
            .max_vgprs = 255,
            .max_waves_per_simd = warps / 4,
            .compute_units = units,
            .bandwidth_gb_s = bandwidth,
            .half_tflops = tflops,
            .has_dot4 = true,
            .has_matrix = true,
            .has_graph_loops = true,
            .prefill_rows = 1024,
            .example = example};
}

Arch cpu(const char* name) {
    return {.name = name,
            .family = ArchFamily::kCpu,
            .compute_units = 2,
            .bandwidth_gb_s = 20,
            .half_tflops = 0.05,
            .example = "a 2-core x86-64 host"};
}

}  // namespace

std::span<const Arch> known_archs() {
    static const std::vector<Arch> archs = {
        amd("gfx1030", false, 80, 512, 46.1, "Radeon RX 6900 XT", /*matrix=*/false),
        amd("gfx1100", true, 96, 960, 122.8, "Radeon RX 7900 XTX"),
        amd("gfx1101", true, 60, 624, 74.6, "Radeon RX 7800 XT"),
        amd("gfx1102", false, 32, 288, 43.5, "Radeon RX 7600"),
        amd("gfx1103", false, 12, 120, 16.6, "Radeon 780M"),
        amd("gfx1150", false, 16, 120, 23.8, "Radeon 890M"),
        amd("gfx1151", true, 40, 256, 59.4, "Radeon 8060S (Strix Halo)"),
        amd("gfx1152", false, 8, 128, 12.3, "Radeon 860M"),
        amd("gfx1200", true, 32, 320, 103, "Radeon RX 9060 XT"),
        amd("gfx1201", true, 64, 640, 195, "Radeon RX 9070 XT"),
        nvidia("sm_80", 164, 64, 108, 2039, 312, "A100"),
        nvidia("sm_86", 100, 48, 82, 936, 71, "GeForce RTX 3090"),
        nvidia("sm_89", 100, 48, 128, 1008, 165, "GeForce RTX 4090"),
        nvidia("sm_90", 228, 64, 132, 4800, 989, "H200"),
        nvidia("sm_120", 100, 48, 170, 1792, 209, "GeForce RTX 5090"),
        cpu("x86-64-v3"),
        cpu("x86-64-v4"),
    };
    return archs;
}

const Arch& find_arch(std::string_view name) {
    std::string known;
    for (const Arch& arch : known_archs()) {
        if (arch.name == name) return arch;
        known += (known.empty() ? "" : ", ") + arch.name;
    }
    throw std::runtime_error(fmt::format("unknown arch '{}'; known: {}", name, known));
}

}  // namespace hetune
