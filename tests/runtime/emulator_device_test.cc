// The emulator device against a program that only pretends (tests/doubles/fake_emulator.py).
#include "runtime/device/emulator_device.h"

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "device_cases.h"

namespace hetune {
namespace {

std::unique_ptr<Device> open() { return open_emulator(HETUNE_FAKE_EMULATOR, "gfx1100"); }

CodeObject object(std::string_view what) {
    const auto bytes = std::as_bytes(std::span(what));
    return {.bytes = {bytes.begin(), bytes.end()}, .entry = "add"};
}

// a, b, y at byte offsets into their buffers, and a count.
struct Args {
    uint64_t a, b, y, count;
};
void launch(Device& device, Module& module, uint32_t threads, const Args& args) {
    device.launch(module, {.threads = threads}, std::as_bytes(std::span(&args, 1)));
}

}  // namespace

TEST_CASE("The emulator device copies, fills and adopts, and refuses what lies outside a buffer") {
    test::copies_and_fills(*open());
}

TEST_CASE("The emulator device hands over buffers, offsets and numbers, and takes results back") {
    const auto device = open();
    const auto module = device->load(object("add"));
    const std::vector<float> values{1, 2, 3, 4, 5, 6, 7, 8};
    const auto x = test::put(*device, values);
    const auto y = test::put(*device, std::vector<float>(8, -1.0f));
    launch(*device, *module, 3, {x->address(), x->address() + 16, y->address() + 4, 100});
    CHECK(test::get(*device, *y) == std::vector<float>{-1, 6, 8, 10, -1, -1, -1, -1});
    CHECK(test::get(*device, *x) == values);
}

TEST_CASE("A buffer that is input and output keeps what was written through either argument") {
    const auto device = open();
    const auto module = device->load(object("add"));
    const auto x = test::put(*device, std::vector<float>{1, 2, 3, 4});
    const Args in_place{x->address(), x->address(), x->address(), 4};
    launch(*device, *module, 32, in_place);
    CHECK(test::get(*device, *x) == std::vector<float>{2, 4, 6, 8});

    const auto graph = device->capture([&] { launch(*device, *module, 2, in_place); });
    CHECK(test::get(*device, *x) == std::vector<float>{2, 4, 6, 8});
    device->replay(*graph);
    device->replay(*graph);
    CHECK(test::get(*device, *x) == std::vector<float>{8, 16, 6, 8});
    CHECK_THROWS_WITH_AS(device->capture([&] { device->fill(*x, 0, 4, 0); }),
                         doctest::Contains("fill while capturing"), DeviceError);
}

TEST_CASE("A failed emulation names kernel and cause, and changes nothing") {
    const auto device = open();
    const auto x = test::put(*device, std::vector<float>{1, 2});
    const auto error = [&](std::string_view what) -> std::string {
        try {
            launch(*device, *device->load(object(what)), 32,
                   {x->address(), x->address(), x->address(), 2});
        } catch (const DeviceError& failed) {
            return failed.what();
        }
        return "no error";
    };
    CHECK(error("fault") == "emulator: add: fault: out-of-bounds access in workgroup (0, 0, 0)");
    CHECK(error("race") ==
          "emulator: add: findings: 8 LDS bytes touched; 1 WMMA with EXEC not all ones");
    CHECK(error("unsupported") == "emulator: add: unsupported: v_swap_b16");
    CHECK(error("usage") == "emulator: add: exit code 1: no kernel of this name");
    CHECK(error("crash").find("signal 6") != std::string::npos);
    CHECK(test::get(*device, *x) == std::vector<float>{1, 2});
}

TEST_CASE("Arguments that point into freed memory, or are not 8 bytes, are refused") {
    const auto device = open();
    const auto module = device->load(object("add"));
    auto gone = device->allocate(64);
    const uint64_t address = gone->address();
    gone.reset();
    CHECK_THROWS_WITH_AS(launch(*device, *module, 32, {address, 0, 0, 0}),
                         doctest::Contains("argument 0 points into no live buffer"), DeviceError);
    const std::byte odd[12] = {};
    CHECK_THROWS_WITH_AS(device->launch(*module, {}, odd), doctest::Contains("12 bytes"),
                         DeviceError);
}

TEST_CASE("The emulator is never chosen unless it is named, and says when it is not set") {
    unsetenv("HETUNE_EMULATOR");
    CHECK(backends().back().name == "emulator");
    CHECK_THROWS_WITH_AS(open_device("emulator"),
                         doctest::Contains("HETUNE_EMULATOR names no program"), DeviceError);
    setenv("HETUNE_EMULATOR", "/nowhere", 1);
    CHECK_THROWS_WITH_AS(open_device("emulator"), doctest::Contains("is no program"), DeviceError);
    setenv("HETUNE_EMULATOR", HETUNE_FAKE_EMULATOR, 1);
    setenv("HETUNE_EMULATOR_ARCH", "gfx906", 1);
    CHECK_THROWS_WITH_AS(open_device("emulator"), doctest::Contains("unknown arch 'gfx906'"),
                         DeviceError);
    setenv("HETUNE_EMULATOR_ARCH", "gfx1151", 1);
    CHECK(open_device("emulator")->arch().name == "gfx1151");
    unsetenv("HETUNE_EMULATOR_ARCH");
    unsetenv("HETUNE_EMULATOR");
}

}  // namespace hetune
