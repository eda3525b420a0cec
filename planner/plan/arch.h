// Facts about one target architecture. The table (arch.cc) cites its sources.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kernel_templates/target_family.h"

namespace hetune {

struct Arch {
    std::string name;  // "gfx1100", "sm_90", "x86-64-v3"
    TargetFamily family = TargetFamily::kCpu;
    int wave_size = 32;
    int lds_bytes_per_group = 65536;
    int lds_bytes_per_unit = 131072;  // a WGP or an SM: what its groups share
    int lds_reserved_per_group = 0;   // taken by the driver
    int simds_per_unit = 4;
    int vgprs_per_simd = 1536;  // registers of one lane, over all waves of a SIMD
    int vgpr_granule = 24;
    int max_vgprs = 256;  // of one wave
    int max_waves_per_simd = 16;
    int compute_units = 0;      // of the card named in `example`; 0: ask the device
    double bandwidth_gb_s = 0;  // memory, of that card, on paper
    double half_tflops = 0;     // dense f16 matrix or packed rate, on paper
    bool has_dot4 = false;      // a 4 x int8 dot product instruction
    bool has_matrix = false;    // WMMA / mma.sync
    int int_matrix_rows = 0;    // sequences from which prelude/int_matrix.h multiplies; 0: never
    // Tokens of one group by them, at most (each takes a register of every lane), and whether
    // activations lie in tiles of 8 tokens for them (XTile).
    int int_matrix_tokens = 16;
    bool int_matrix_tiles = false;
    // Rows of a decode step with the same expert that share a read of its weights, at most. 1: a
    // row reads its experts for itself.
    int expert_rows = 2;
    bool has_wide_loads = false;   // a lane loads 128 bits with one instruction
    bool code_is_readable = true;  // by LLVM's disassembler
    bool on_host = false;          // kernels run on the cores of this process, lanes as fibers
    bool has_graph_loops = false;  // a driver's graphs may repeat themselves (Device::capture_loop)
    // Tokens of one prefill step unless asked for: where matrix units are bound by their own rate
    // and not by the weights' bytes, and tiles of 64 or 128 rows fill the card.
    int prefill_rows = 64;
    std::string example;  // "Radeon RX 7900 XTX"

    // Choices of the planner that differ between targets.
    //
    // The number of waves of a group, or of shares of a sum, where `wanted` would suit a GPU. On
    // the host the waves of a group run in turn on one core: a second wave costs time and gains
    // none.
    int waves(int wanted) const { return on_host ? 1 : wanted; }
    bool tile_of_128 = false;      // GEMM tiles of 128 x 128: 250 registers without a spill
    int gemv_waves_when_full = 0;  // of a group, where every unit has a group; 0: as elsewhere
    int attention_waves = 4;       // of a group of attention_step
    int attention_heads_of_lane = 1024;  // query heads whose sums a lane's registers hold

    // Members that the cost model alone reads.
    int compute_units_per_unit = 1;  // of which LDS and SIMDs are counted above
    double launch_us = 0;            // between two kernels of one graph
    double latency_us = 0.6;         // of a load from memory
    double wave_bytes = 4096;        // that a wave has on their way
    double barrier_us = 0;           // of a group's waves
    int64_t cache_bytes = 32 << 20;  // of the last level, which a cold timing must exceed

    bool operator==(const Arch&) const = default;
};

std::span<const Arch> known_archs();

// Throws std::runtime_error naming the known ones when `name` is not among them.
const Arch& find_arch(std::string_view name);

}  // namespace hetune
