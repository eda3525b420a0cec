#include "planner/arch.h"

#include <fmt/format.h>

#include <stdexcept>
#include <vector>

namespace hetune {

std::span<const Arch> known_archs() {
    static const std::vector<Arch> archs = {
        {.name = "gfx1100", .family = ArchFamily::kAmd, .compute_units = 96, .bandwidth_gb_s = 960,
         .half_tflops = 122.8, .has_dot4 = true, .has_matrix = true, .example = "Radeon RX 7900 XTX"},
        {.name = "gfx1151", .family = ArchFamily::kAmd, .compute_units = 40, .bandwidth_gb_s = 256,
         .half_tflops = 59.4, .has_dot4 = true, .has_matrix = true, .example = "Radeon 8060S (Strix Halo)"},
        {.name = "sm_90", .family = ArchFamily::kNvidia, .lds_bytes_per_group = 232448, .vgprs_per_simd = 512,
         .vgpr_granule = 8, .compute_units = 132, .bandwidth_gb_s = 4800, .half_tflops = 989,
         .has_dot4 = true, .has_matrix = true, .example = "H200"},
        {.name = "x86-64-v3", .family = ArchFamily::kCpu, .lds_bytes_per_group = 65536,
         .compute_units = 2, .bandwidth_gb_s = 20, .half_tflops = 0.05, .example = "a 2-core x86-64 host"},
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
