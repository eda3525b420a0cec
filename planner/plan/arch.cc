#include "planner/plan/arch.h"

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
// Cache: the same page, Infinity Cache, or L2 where there is none. A graph node takes 3.9 us under
// HIP on a W7900. Latencies and loads in flight: of the order that pointer chasing on these cards
// shows. A WGP, whose LDS and SIMDs are counted, is two CUs. Integer matrix units: by instructions
// counted on an emulator, not by time (docs/kernel-counts.md, "Batches").
Arch amd(const char* name, bool large_file, int units, double bandwidth, double tflops,
         int cache_mib, const char* example, bool matrix = true) {
    return {.name = name,
            .family = TargetFamily::kAmd,
            .vgprs_per_simd = large_file ? 1536 : 1024,
            .vgpr_granule = large_file ? 24 : 16,
            .compute_units = units,
            .bandwidth_gb_s = bandwidth,
            .half_tflops = tflops,
            .has_dot4 = true,
            .has_matrix = matrix,
            .int_matrix_rows = matrix ? 8 : 0,
            .has_wide_loads = true,
            .prefill_rows = matrix ? 512 : 64,
            .example = example,
            .compute_units_per_unit = 2,
            .launch_us = 3.9,
            .barrier_us = 0.05,
            .cache_bytes = int64_t{cache_mib} << 20};
}

// "CUDA C++ Programming Guide", technical specifications per compute capability: 64 K registers and
// the shared memory of an SM, and the warps it holds, here for each of its four partitions.
// The planner's choices were measured on an H200: where each SM has a group, four waves are enough
// for a GEMV; attention_step runs two groups of eight waves on an SM, with at most four heads for a
// lane's registers. From four sequences on the integer matrix units take less time for 8 tokens
// than dot products for those that there are, and 32 tokens a group less than 16
// (docs/benchmarks.md). Launches: 1.3 us in a CUDA
// graph.
Arch nvidia(const char* name, int shared_kib, int warps, int units, double bandwidth, double tflops,
            int cache_mib, const char* example) {
    return {.name = name,
            .family = TargetFamily::kNvidia,
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
            .int_matrix_rows = 4,
            .int_matrix_tokens = 32,
            .int_matrix_tiles = true,
            // On an H200 sharing costs 5 to 13 % at 2 to 64 sequences (docs/benchmarks.md).
            .expert_rows = 1,
            .has_wide_loads = true,
            .code_is_readable = false,
            .has_graph_loops = true,
            .prefill_rows = 1024,
            .example = example,
            .tile_of_128 = true,
            .gemv_waves_when_full = 4,
            .attention_waves = 8,
            .attention_heads_of_lane = 4,
            .launch_us = 1.3,
            .barrier_us = 0.04,
            .cache_bytes = int64_t{cache_mib} << 20};
}

// Lanes are fibers: a barrier changes every lane twice.
Arch cpu(const char* name) {
    return {.name = name,
            .family = TargetFamily::kCpu,
            .compute_units = 2,
            .bandwidth_gb_s = 20,
            .half_tflops = 0.05,
            .int_matrix_rows = 4,  // plain code, for tests
            .int_matrix_tokens = 32,
            .int_matrix_tiles = true,
            .expert_rows = 4,
            .on_host = true,
            .example = "a 2-core x86-64 host",
            .launch_us = 5.0,
            .latency_us = 0.1,
            .barrier_us = 2.0};
}

}  // namespace

std::span<const Arch> known_archs() {
    static const std::vector<Arch> archs = {
        amd("gfx1030", false, 80, 512, 46.1, 128, "Radeon RX 6900 XT", /*matrix=*/false),
        amd("gfx1100", true, 96, 960, 122.8, 96, "Radeon RX 7900 XTX"),
        amd("gfx1101", true, 60, 624, 74.6, 64, "Radeon RX 7800 XT"),
        amd("gfx1102", false, 32, 288, 43.5, 32, "Radeon RX 7600"),
        amd("gfx1103", false, 12, 120, 16.6, 2, "Radeon 780M"),
        amd("gfx1150", false, 16, 120, 23.8, 2, "Radeon 890M"),
        amd("gfx1151", true, 40, 256, 59.4, 32, "Radeon 8060S (Strix Halo)"),
        amd("gfx1152", false, 8, 128, 12.3, 1, "Radeon 860M"),
        amd("gfx1200", true, 32, 320, 103, 32, "Radeon RX 9060 XT"),
        amd("gfx1201", true, 64, 640, 195, 64, "Radeon RX 9070 XT"),
        nvidia("sm_80", 164, 64, 108, 2039, 312, 40, "A100"),
        nvidia("sm_86", 100, 48, 82, 936, 71, 6, "GeForce RTX 3090"),
        nvidia("sm_89", 100, 48, 128, 1008, 165, 72, "GeForce RTX 4090"),
        nvidia("sm_90", 228, 64, 132, 4800, 989, 50, "H200"),
        nvidia("sm_120", 100, 48, 170, 1792, 209, 96, "GeForce RTX 5090"),
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
