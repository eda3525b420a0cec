// Occupancy as a table, and the arch table's promises.
#include "planner/plan/occupancy.h"

#include <doctest/doctest.h>

namespace hetune::testing {
namespace {

TEST_CASE("a kernel of 96 VGPRs has the occupancy that clang 19 prints for each arch") {
    struct Case {
        const char* arch;
        int waves;
    };
    for (const Case& c : {Case{"gfx1030", 10},
                          {"gfx1100", 16},
                          {"gfx1101", 16},
                          {"gfx1102", 10},
                          {"gfx1103", 10},
                          {"gfx1150", 10},
                          {"gfx1151", 16},
                          {"gfx1152", 10},
                          {"gfx1200", 16},
                          {"gfx1201", 16}}) {
        CAPTURE(c.arch);
        CHECK(occupancy(find_arch(c.arch), 96, 0, 32).waves_per_simd == c.waves);
    }
}

TEST_CASE("what limits a kernel is named") {
    const Arch& arch = find_arch("gfx1100");
    CHECK(occupancy(arch, 24, 0, 32) == Occupancy{16, "waves"});
    CHECK(occupancy(arch, 97, 0, 32) == Occupancy{12, "registers"});    // 120 of 1536
    CHECK(occupancy(arch, 256, 0, 32) == Occupancy{5, "registers"});    // 264
    CHECK(occupancy(arch, 24, 65536, 256) == Occupancy{4, "LDS"});      // 2 groups of 8 waves
    CHECK(occupancy(arch, 24, 65536, 1024) == Occupancy{16, "waves"});  // 2 groups of 32 waves
    CHECK(occupancy(arch, 97, 0, 1024) ==
          Occupancy{8, "group size"});  // 1 group of 32, not 48 waves
    CHECK(occupancy(arch, 24, 65537, 32).waves_per_simd == 0);
    CHECK(occupancy(arch, 257, 0, 32).waves_per_simd == 0);
}

TEST_CASE("NVIDIA's shared memory counts the driver's kilobyte in") {
    // 64 warps of 32 registers fill an SM of compute capability 9.0.
    CHECK(occupancy(find_arch("sm_90"), 32, 0, 256) == Occupancy{16, "waves"});
    CHECK(occupancy(find_arch("sm_90"), 255, 0, 32) == Occupancy{2, "registers"});
    // 228 KiB hold two groups of 113 KiB and not of 113.5.
    CHECK(occupancy(find_arch("sm_90"), 32, 113 * 1024, 128) == Occupancy{2, "LDS"});
    CHECK(occupancy(find_arch("sm_90"), 32, 113 * 1024 + 512, 128) == Occupancy{1, "LDS"});
    CHECK(occupancy(find_arch("sm_89"), 16, 0, 192) == Occupancy{12, "waves"});
}

TEST_CASE("every arch has what a roofline and a launch need") {
    for (const Arch& arch : known_archs()) {
        CAPTURE(arch.name);
        CHECK(arch.bandwidth_gb_s > 0);
        CHECK(arch.half_tflops > 0);
        CHECK(arch.compute_units > 0);
        CHECK(arch.lds_bytes_per_group <= arch.lds_bytes_per_unit);
        CHECK_FALSE(arch.example.empty());
        CHECK(&find_arch(arch.name) == &arch);
    }
    CHECK_THROWS_WITH(find_arch("gfx906"),
                      doctest::Contains("unknown arch 'gfx906'; known: gfx1030"));
}

}  // namespace
}  // namespace hetune::testing
