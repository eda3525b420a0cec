// The CUDA device on a real GPU. Skipped where there is none.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "device_cases.h"
#include "tests/skip.h"

namespace hetune {
namespace {

// y[i] = a[i] + b[i] for i < n. A driver takes PTX as it takes an object.
constexpr char kAdd[] = R"(
.version 7.0
.target sm_70
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 y, .param .u32 n) {
    .reg .pred %past;
    .reg .b32 %r<6>;
    .reg .b64 %d<6>;
    .reg .f32 %f<4>;
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.s32 %r4, %r1, %r2, %r3;
    ld.param.u32 %r5, [n];
    setp.ge.s32 %past, %r4, %r5;
    @%past bra DONE;
    mul.wide.s32 %d1, %r4, 4;
    ld.param.u64 %d2, [a];
    add.s64 %d2, %d2, %d1;
    ld.global.f32 %f1, [%d2];
    ld.param.u64 %d3, [b];
    add.s64 %d3, %d3, %d1;
    ld.global.f32 %f2, [%d3];
    add.f32 %f3, %f1, %f2;
    ld.param.u64 %d4, [y];
    add.s64 %d4, %d4, %d1;
    st.global.f32 [%d4], %f3;
DONE:
    ret;
}
)";

CodeObject add_kernel() {
    const auto bytes = std::as_bytes(std::span(kAdd));  // with the zero at its end
    return {.bytes = {bytes.begin(), bytes.end()}, .entry = "add"};
}

std::vector<std::byte> with_count(std::vector<std::byte> args, int32_t n) {
    const auto bytes = std::as_bytes(std::span(&n, 1));
    args.insert(args.end(), bytes.begin(), bytes.end());
    return args;
}

bool no_gpu() {
    for (const Backend& backend : backends()) {
        if (backend.name != "cuda") continue;
        const std::string why = backend.unavailable();
        if (!why.empty()) testing::skip(why);
        return !why.empty();
    }
    return true;
}

}  // namespace

TEST_CASE("The CUDA device says what it is") {
    if (no_gpu()) return;
    const DeviceInfo info = open_device("cuda")->info();
    CHECK(info.backend == "cuda");
    CHECK(info.driver.starts_with("CUDA "));
    CHECK(info.memory_bytes > 0);
    CHECK(info.free_bytes <= info.memory_bytes);
    CHECK(info.compute_units > 0);
    MESSAGE(info.name << ", " << info.driver << ", " << info.compute_units << " multiprocessors, "
                      << info.memory_bytes << " bytes");
}

TEST_CASE("The CUDA device copies, fills and adopts, and refuses what lies outside a buffer") {
    if (no_gpu()) return;
    test::copies_and_fills(*open_device("cuda"));
}

TEST_CASE("The CUDA device launches, captures, replays and times") {
    if (no_gpu()) return;
    const auto device = open_device("cuda");
    constexpr int kCount = 1000;
    const std::vector<float> ones(kCount, 1.0f);
    const auto one = test::put(*device, ones), sum = test::put(*device, ones);
    const auto module = device->load(add_kernel());
    const auto args = with_count(test::pointers({one.get(), sum.get(), sum.get()}), kCount - 1);
    const LaunchShape shape{.groups = {8, 1, 1}, .threads = 128};
    device->launch(*module, shape, args);
    CHECK(test::get(*device, *sum)[0] == 2.0f);

    const auto graph = device->capture([&] {
        for (int i = 0; i < 3; ++i) device->launch(*module, shape, args);
    });
    CHECK(test::get(*device, *sum)[0] == 2.0f);
    device->replay(*graph);
    device->replay(*graph);
    const std::vector<float> got = test::get(*device, *sum);
    CHECK(got[kCount - 2] == 8.0f);
    CHECK(got[kCount - 1] == 1.0f);

    const double ms = device->time_ms([&] { device->replay(*graph); });
    CHECK(ms > 0);
    CHECK(ms < 1000);
    CHECK_THROWS_WITH_AS(device->capture([&] { device->fill(*sum, 0, 4, 0); }),
                         doctest::Contains("fill while capturing"), DeviceError);
    device->replay(*graph);
    device->synchronize();
}

TEST_CASE("The CUDA device takes uploads that are made on the way, several at a time") {
    if (no_gpu()) return;
    test::uploads_what_is_made(*open_device("cuda"));
}

TEST_CASE("The CUDA device replays loops, as long as a kernel asks for it") {
    if (no_gpu()) return;
    const auto device = open_device("cuda");
    test::replays_loops(*device, device->arch().name);
}

TEST_CASE("A broken object is refused by the CUDA driver, and the device goes on") {
    if (no_gpu()) return;
    const auto device = open_device("cuda");
    CHECK_THROWS_WITH_AS(device->load({.bytes = std::vector<std::byte>(256), .entry = "gemv"}),
                         doctest::Contains("cuModuleLoadData of gemv failed: "), DeviceError);
    CodeObject other = add_kernel();
    other.entry = "sub";
    CHECK_THROWS_WITH_AS(device->load(other),
                         doctest::Contains("cuModuleGetFunction of sub failed"), DeviceError);
    device->load(add_kernel());
}

// Last, since a fault ends the context of the whole process.
TEST_CASE("After a kernel has faulted the CUDA device refuses every call and says why") {
    if (no_gpu()) return;
    const auto device = open_device("cuda");
    const auto module = device->load(add_kernel());
    const std::vector<std::byte> nowhere(24);
    device->launch(*module, {.threads = 32}, with_count(nowhere, 32));
    CHECK_THROWS_WITH_AS(device->synchronize(), doctest::Contains("failed: 700"), DeviceError);
    CHECK_THROWS_WITH_AS(device->allocate(1),
                         doctest::Contains("refused, the device failed before"), DeviceError);
}

}  // namespace hetune
