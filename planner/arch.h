// Facts about one target architecture. The table (arch.cc) cites its sources.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hetune {

enum class ArchFamily { kAmd, kNvidia, kCpu };

struct Arch {
    std::string name;  // "gfx1100", "sm_90", "x86-64-v3"
    ArchFamily family = ArchFamily::kCpu;
    int wave_size = 32;
    int lds_bytes_per_group = 65536;
    int lds_bytes_per_unit = 131072;  // a WGP or an SM: what its groups share
    int lds_reserved_per_group = 0;   // taken by the driver
    int simds_per_unit = 4;
    int vgprs_per_simd = 1536;  // registers of one lane, over all waves of a SIMD
    int vgpr_granule = 24;
    int max_vgprs = 256;  // of one wave
    int max_waves_per_simd = 16;
    int compute_units = 0;         // of the card named in `example`; 0: ask the device
    double bandwidth_gb_s = 0;     // memory, of that card, on paper
    double half_tflops = 0;        // dense f16 matrix or packed rate, on paper
    bool has_dot4 = false;         // a 4 x int8 dot product instruction
    bool has_matrix = false;       // WMMA / mma.sync
    bool has_graph_loops = false;  // a driver's graphs may repeat themselves (Device::capture_loop)
    // Tokens of one prefill step unless asked for: where matrix units are bound by their own rate
    // and not by the weights' bytes, and tiles of 64 or 128 rows fill the card.
    int prefill_rows = 64;
    std::string example;  // "Radeon RX 7900 XTX"

    bool operator==(const Arch&) const = default;
};

std::span<const Arch> known_archs();

// Throws std::runtime_error naming the known ones when `name` is not among them.
const Arch& find_arch(std::string_view name);

}  // namespace hetune
