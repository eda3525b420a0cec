// gfx1100 objects as compiled, on the emulator that HETUNE_EMULATOR names. Skipped without one.
#include <doctest/doctest.h>

#include "device_cases.h"

namespace hetune {
namespace {

bool no_emulator() {
    for (const Backend& backend : backends()) {
        if (backend.name != "emulator") continue;
        const std::string why = backend.unavailable();
        if (!why.empty()) MESSAGE("skipped: " << why);
        return !why.empty();
    }
    return true;
}

}  // namespace

TEST_CASE("Emulated gfx1100 runs kernels with tails, barriers and several modules at once") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    test::runs_kernels(*device, device->arch().name);
}

TEST_CASE("Emulated gfx1100 replays what was captured") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    test::replays_graphs(*device, device->arch().name);
}

TEST_CASE("An emulated access outside of a buffer is an error that names the kernel") {
    if (no_emulator()) return;
    const auto device = open_device("emulator");
    const auto add = device->load(test::compile(test::binary("Add", 64, 2), device->arch().name));
    const int32_t step[2] = {0, 1};
    const auto step_buffer = device->allocate(sizeof step);
    device->upload(*step_buffer, 0, std::as_bytes(std::span(step)));
    const auto small = test::put(*device, std::vector<float>(63));
    CHECK_THROWS_WITH_AS(
        device->launch(*add, {.threads = 64},
                       test::pointers({step_buffer.get(), small.get(), small.get(), small.get()})),
        doctest::Contains("emulator: binary: fault: out-of-bounds"), DeviceError);
}

}  // namespace hetune
