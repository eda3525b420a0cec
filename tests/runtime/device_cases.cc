#include "device_cases.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "kernel_templates/catalogue.h"
#include "runtime/compile/compiler.h"
#include "runtime/load/sampling.h"
#include "runtime/load/step_state.h"
#include "tests/skip.h"

namespace hetune::test {
namespace {

std::vector<float> ramp(size_t n, float scale) {
    std::vector<float> values(n);
    for (size_t i = 0; i < n; ++i) values[i] = scale * (static_cast<float>(i % 97) - 48);
    return values;
}

std::unique_ptr<Buffer> step_of(Device& device, int rows) {
    const std::vector<int32_t> step =
        step_state(std::vector<StepRow>(static_cast<size_t>(rows)), {});
    auto buffer = device.allocate(step.size() * sizeof(int32_t));
    device.upload(*buffer, 0, std::as_bytes(std::span(step)));
    return buffer;
}

void set_rows(Device& device, Buffer& step, int32_t rows) {
    device.upload(step, 0, std::as_bytes(std::span(&rows, 1)));
}

}  // namespace

CodeObject compile(const KernelSpec& spec, const std::string& arch_name) {
    const Arch& arch = find_arch(arch_name);
    const std::string source = TemplateSources().render(spec, arch.family);
    return choose_compiler(arch, read_environment())->compile({spec.name, source, arch});
}

KernelSpec binary(const std::string& op, int cols, int waves) {
    return {"binary",
            {{"Op", op}, {"kCols", std::to_string(cols)}, {"kWaves", std::to_string(waves)}}};
}

KernelSpec rmsnorm(int cols, int waves) {
    return {
        "rmsnorm",
        {{"kCols", std::to_string(cols)}, {"kEps", "0.000001"}, {"kWaves", std::to_string(waves)}}};
}

std::unique_ptr<Buffer> put(Device& device, std::span<const float> values) {
    auto buffer = device.allocate(values.size_bytes());
    device.upload(*buffer, 0, std::as_bytes(values));
    return buffer;
}

std::vector<float> get(Device& device, const Buffer& buffer) {
    std::vector<float> values(buffer.bytes() / sizeof(float));
    device.download(std::as_writable_bytes(std::span(values)), buffer, 0);
    return values;
}

std::vector<std::byte> pointers(std::initializer_list<const Buffer*> buffers) {
    std::vector<std::byte> args;
    for (const Buffer* buffer : buffers) {
        const uint64_t address = buffer->address();
        const auto bytes = std::as_bytes(std::span(&address, 1));
        args.insert(args.end(), bytes.begin(), bytes.end());
    }
    return args;
}

void copies_and_fills(Device& device) {
    const std::vector<float> values = ramp(1000, 0.5f);
    const auto buffer = put(device, values);
    CHECK(buffer->bytes() == 4000);
    CHECK(buffer->address() % 256 == 0);
    CHECK(get(device, *buffer) == values);

    std::vector<float> part(10);
    device.download(std::as_writable_bytes(std::span(part)), *buffer, 400);
    CHECK(std::equal(part.begin(), part.end(), values.begin() + 100));
    device.upload(*buffer, 3960, std::as_bytes(std::span(part)));
    device.fill(*buffer, 0, 3, 0xff);
    const std::vector<float> after = get(device, *buffer);
    unsigned char first[4];
    std::memcpy(first, after.data(), 4);
    CHECK(first[2] == 0xff);
    CHECK(first[3] != 0xff);
    CHECK(after[1] == values[1]);
    CHECK(after[990] == values[100]);

    const auto twin = device.allocate(4100);
    device.copy({*twin}, {*buffer}, 4000);
    std::vector<float> copied(1000);
    device.download(std::as_writable_bytes(std::span(copied)), *twin, 0);
    CHECK(std::memcmp(copied.data(), after.data(), 4000) == 0);
    device.copy({*twin, 8}, {*buffer, 400}, 40);
    device.download(std::as_writable_bytes(std::span(copied)), *twin, 0);
    CHECK(copied[1] == after[1]);
    CHECK(copied[2] == after[100]);
    CHECK(copied[11] == after[109]);
    CHECK(copied[12] == after[12]);
    CHECK_THROWS_AS(device.copy({*buffer}, {*twin}, 4100), DeviceError);
    CHECK_THROWS_AS(device.copy({*twin}, {*buffer, 8}, 4000), DeviceError);

    CHECK_THROWS_AS(device.upload(*buffer, 3996, std::as_bytes(std::span(part))), DeviceError);
    CHECK_THROWS_AS(device.download(std::as_writable_bytes(std::span(part)), *buffer, SIZE_MAX),
                    DeviceError);
    CHECK_THROWS_AS(device.fill(*buffer, 0, 4001, 0), DeviceError);
    device.upload(*buffer, 4000, {});

    const auto empty = device.allocate(0);
    CHECK(empty->bytes() == 0);
    const auto adopted = device.adopt(std::as_bytes(std::span(values)));
    CHECK(get(device, *adopted) == values);
}

void runs_kernels(Device& device, const std::string& object_arch) {
    constexpr int kRows = 3, kCols = 200, kWaves = 2;  // a tail in the last group of each row
    const auto add = device.load(compile(binary("Add", kCols, kWaves), object_arch));
    const auto silu_mul = device.load(compile(binary("SiluMul", kCols, kWaves), object_arch));
    const auto norm = device.load(compile(rmsnorm(kCols, kWaves), object_arch));
    const std::vector<float> a = ramp(kRows * kCols, 0.125f), b = ramp(kRows * kCols + 31, 0.25f);
    const auto a_buffer = put(device, a), b_buffer = put(device, std::span(b).first(a.size()));
    const auto step = step_of(device, 2);  // so the last row stays as it was
    const auto y = device.allocate(a.size() * sizeof(float));
    const LaunchShape elementwise{.groups = {4, kRows, 1}, .threads = 32 * kWaves};

    device.fill(*y, 0, y->bytes(), 0);
    device.launch(*add, elementwise,
                  pointers({step.get(), a_buffer.get(), b_buffer.get(), y.get()}));
    std::vector<float> got = get(device, *y);
    for (size_t i = 0; i < a.size(); ++i) REQUIRE(got[i] == (i < 2 * kCols ? a[i] + b[i] : 0.0f));

    device.launch(*silu_mul, elementwise,
                  pointers({step.get(), a_buffer.get(), b_buffer.get(), y.get()}));
    got = get(device, *y);
    for (size_t i = 0; i < 2 * kCols; ++i)
        REQUIRE(got[i] == doctest::Approx(a[i] / (1 + std::exp(-a[i])) * b[i]).epsilon(1e-5));

    device.launch(*norm, {.groups = {kRows, 1, 1}, .threads = 32 * kWaves},
                  pointers({step.get(), a_buffer.get(), b_buffer.get(), y.get()}));
    got = get(device, *y);
    for (int row = 0; row < 2; ++row) {
        const float* x = a.data() + row * kCols;
        const double squares = std::inner_product(x, x + kCols, x, 0.0);
        const double factor = 1 / std::sqrt(squares / kCols + 1e-6);
        for (int c = 0; c < kCols; ++c)
            REQUIRE(got[row * kCols + c] == doctest::Approx(x[c] * factor * b[c]).epsilon(1e-5));
    }

    const double ms = device.time_ms([&] {
        device.launch(*norm, {.groups = {kRows, 1, 1}, .threads = 32 * kWaves},
                      pointers({step.get(), a_buffer.get(), b_buffer.get(), y.get()}));
    });
    CHECK(ms > 0);
}

void writes_host_memory(Device& device, const std::string& object_arch) {
    constexpr int kCols = 96;
    const auto add = device.load(compile(binary("Add", kCols, 1), object_arch));
    const std::vector<float> values = ramp(kCols, 0.25f);
    const auto x = put(device, values);
    const auto step = step_of(device, 1);
    const HostMemory host = device.allocate_host(kCols * sizeof(float));
    REQUIRE(host.bytes != nullptr);
    CHECK(host.buffer->bytes() == kCols * sizeof(float));
    const auto first = device.make_mark(), second = device.make_mark();
    const auto args = pointers({step.get(), x.get(), x.get(), host.buffer.get()});
    for (const auto* mark : {&first, &second, &first}) {
        std::memset(host.bytes, 0, host.buffer->bytes());
        device.launch(*add, {.groups = {3, 1, 1}, .threads = 32}, args);
        device.record(**mark);
        device.wait(**mark);
        std::vector<float> got(kCols);
        std::memcpy(got.data(), host.bytes, host.buffer->bytes());
        for (size_t i = 0; i < got.size(); ++i) REQUIRE(got[i] == 2 * values[i]);
    }
}

void uploads_what_is_made(Device& device) {
    constexpr size_t kBytes[] = {1, 4096, (2 << 20) + 3, (9 << 20) + 100, 5, (4 << 20)};
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<size_t> made(std::size(kBytes));
    std::vector<MadeUpload> uploads;
    const auto byte_at = [](size_t buffer, size_t at) {
        return static_cast<std::byte>((at / 7 + 31 * buffer) % 251);
    };
    for (size_t i = 0; i < std::size(kBytes); ++i) {
        buffers.push_back(device.allocate(kBytes[i]));
        uploads.push_back({buffers[i].get(), [&, i](std::span<std::byte> piece) {
                               for (std::byte& byte : piece) byte = byte_at(i, made[i]++);
                           }});
    }
    for (int round = 0; round < 2; ++round) {
        std::ranges::fill(made, size_t{0});
        device.upload_all(uploads);
        for (size_t i = 0; i < buffers.size(); ++i) {
            CAPTURE(i);
            CHECK(made[i] == kBytes[i]);
            std::vector<std::byte> got(kBytes[i]);
            device.download(got, *buffers[i], 0);
            size_t wrong = 0;
            for (size_t at = 0; at < got.size(); ++at) wrong += got[at] != byte_at(i, at) ? 1 : 0;
            CHECK(wrong == 0);
        }
    }
    uploads[3].make = [](std::span<std::byte>) { throw std::out_of_range("nothing more"); };
    CHECK_THROWS_WITH_AS(device.upload_all(uploads), "nothing more", std::out_of_range);
    CHECK(get(device, *put(device, std::vector<float>{3.0f}))[0] == 3.0f);  // and it goes on
}

void replays_graphs(Device& device, const std::string& object_arch) {
    constexpr int kRows = 2, kCols = 96;
    const auto add = device.load(compile(binary("Add", kCols, 1), object_arch));
    const std::vector<float> ones(kRows * kCols, 1.0f);
    const auto one = put(device, ones), sum = put(device, ones);
    const auto step = step_of(device, kRows);
    const LaunchShape shape{.groups = {3, kRows, 1}, .threads = 32};
    const auto graph = device.capture([&] {
        std::vector<std::byte> args = pointers({step.get(), one.get(), sum.get(), sum.get()});
        for (int i = 0; i < 2; ++i) device.launch(*add, shape, args);
        std::fill(args.begin(), args.end(), std::byte{0xee});  // the launch has its own copy
    });
    CHECK(get(device, *sum) == ones);  // capturing runs nothing

    device.replay(*graph);
    device.replay(*graph);
    CHECK(get(device, *sum) == std::vector<float>(kRows * kCols, 5.0f));

    set_rows(device, *step, 1);  // read anew by each replay
    device.replay(*graph);
    const std::vector<float> got = get(device, *sum);
    CHECK(got[0] == 7.0f);
    CHECK(got[kCols] == 5.0f);

    CHECK_THROWS_WITH_AS(device.capture([&] { device.fill(*sum, 0, 4, 0); }),
                         doctest::Contains("fill while capturing"), DeviceError);
    CHECK_THROWS_AS(device.capture([] { throw std::runtime_error("stop"); }), std::runtime_error);
    device.replay(*graph);
    CHECK(get(device, *sum)[0] == 9.0f);
}

void replays_loops(Device& device, const std::string& object_arch) {
    if (!device.info().graph_loops) return testing::skip("this device has no loops in graphs");
    constexpr int kRounds = 3;
    const auto add = device.load(compile(binary("Add", 32, 1), object_arch));
    const auto repeat = device.load(compile({"repeat", {}}, object_arch));
    const auto one = put(device, std::vector<float>(32, 1.0f)),
               sum = put(device, std::vector<float>(32, 0.0f));
    const auto step = step_of(device, 1);
    const auto loop = device.allocate(loop_state(kRounds).size());
    device.upload(*loop, 0, loop_state(kRounds));
    const auto record = [&] {
        device.launch(*add, {.threads = 32},
                      pointers({step.get(), one.get(), sum.get(), sum.get()}));
        device.launch(*repeat, {.threads = 32, .overlaps = true},
                      pointers({step.get(), loop.get()}));
    };
    const auto graph = device.capture_loop(*loop, record);
    REQUIRE(graph != nullptr);
    CHECK(get(device, *sum)[0] == 0.0f);  // capturing runs nothing
    device.replay(*graph);
    device.replay(*graph);
    CHECK(get(device, *sum)[0] == 2.0f * kRounds);
    device.fill(*loop, loop_rounds_offset(), 1, kRounds + 4);  // read anew by each replay
    device.replay(*graph);
    CHECK(get(device, *sum)[0] == 3.0f * kRounds + 4);
    set_rows(device, *step, 0);  // then the body adds nothing, and ends the loop
    device.replay(*graph);
    set_rows(device, *step, 1);
    device.replay(*graph);
    CHECK(get(device, *sum)[0] == 4.0f * kRounds + 8);
    CHECK_THROWS_AS(device.capture_loop(*loop, [] { throw std::runtime_error("stop"); }),
                    std::runtime_error);
    CHECK(device.capture_loop(*loop, record) != nullptr);
}

}  // namespace hetune::test
