// The HIP device, on the double of tests/doubles/fake_hip.h.
#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "device_cases.h"
#include "runtime/device/gpu/gpu_device.h"

namespace hetune {
namespace {

constexpr const char* kObjectArch = "x86-64-v3";  // what the double runs

// Sets variables of the environment and puts back what was there.
class Variables {
  public:
    Variables(std::initializer_list<std::pair<std::string, std::string>> values) {
        for (const auto& [name, value] : values) {
            const char* old = std::getenv(name.c_str());
            old_.emplace_back(name,
                              old == nullptr ? std::nullopt : std::optional<std::string>(old));
            setenv(name.c_str(), value.c_str(), 1);
        }
    }
    ~Variables() {
        for (const auto& [name, value] : old_)
            value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
    }
    Variables(const Variables&) = delete;
    Variables& operator=(const Variables&) = delete;

  private:
    std::vector<std::pair<std::string, std::optional<std::string>>> old_;
};

// The double in place of libamdhip64; checks at its end that it was used well.
class Double {
  public:
    explicit Double(const char* library = HETUNE_HIP_DOUBLE)
        : library_{{"HETUNE_HIP_LIBRARY", library}}, handle_(dlopen(library, RTLD_NOW)) {
        REQUIRE_MESSAGE(handle_ != nullptr, dlerror());
        misuse();
    }
    ~Double() {
        CHECK(misuse() == "");
        CHECK(live() == 0);
    }
    std::string misuse() const { return call<const char*()>("hipDoubleMisuse")(); }
    int live() const { return call<int()>("hipDoubleLive")(); }

  private:
    template <class F>
    F* call(const char* name) const {
        return reinterpret_cast<F*>(dlsym(handle_, name));
    }
    Variables library_;
    void* handle_;
};

std::string error_of(const std::function<void()>& act) {
    try {
        act();
        return "no error";
    } catch (const DeviceError& error) {
        return error.what();
    }
}
std::string open_error() {
    return error_of([] { open_device("hip"); });
}

const CodeObject& add_kernel() {
    static const CodeObject code = test::compile(test::binary("Add", 32, 1), kObjectArch);
    return code;
}

}  // namespace

TEST_CASE("A HIP library that is not there is named, with what to do") {
    const Variables none{{"HETUNE_HIP_LIBRARY", "/nowhere/libamdhip64.so"}};
    CHECK(open_error().find("no /nowhere/libamdhip64.so; install the HIP runtime") !=
          std::string::npos);
}

TEST_CASE("A HIP library that cannot be loaded, or lacks functions, is named with the reason") {
    {
        const Variables text{{"HETUNE_HIP_LIBRARY", "/proc/self/cmdline"}};
        CHECK(open_error().find("cannot load /proc/self/cmdline: ") != std::string::npos);
    }
    const Variables libc{{"HETUNE_HIP_LIBRARY", "libc.so.6"}};
    CHECK(open_error().find("libc.so.6 lacks hipGetDeviceCount, ") != std::string::npos);
}

TEST_CASE("A machine without an AMD GPU is told from one without the library") {
    const Double hip;
    const Variables none{{"HETUNE_FAKE_HIP_DEVICES", "0"}};
    CHECK(open_error().find("finds no AMD GPU") != std::string::npos);
}

TEST_CASE("An unknown arch is named beside the known ones") {
    const Double hip;
    const Variables old{{"HETUNE_FAKE_HIP_ARCH", "gfx803"}};
    const std::string error = open_error();
    CHECK(error.find("device 0 (HIP double): unknown arch 'gfx803'") != std::string::npos);
    CHECK(error.find("gfx1151") != std::string::npos);
}

TEST_CASE("The best of several GPUs is opened: not integrated, then the one with more memory") {
    const Double hip;
    const Variables cards{{"HETUNE_FAKE_HIP_DEVICES", "4"},
                          {"HETUNE_FAKE_HIP_ARCH", "gfx1103,gfx1100,gfx1101,gfx906"},
                          {"HETUNE_FAKE_HIP_INTEGRATED", "1,0"},
                          {"HETUNE_FAKE_HIP_MEMORY", "9000000,2000000,3000000,8000000"}};
    const DeviceList list = list_devices("hip");
    REQUIRE(list.devices.size() == 4);
    for (int i = 0; i < 4; ++i) CHECK(list.devices[static_cast<size_t>(i)].index == i);
    CHECK(list.devices[0].found.integrated);
    CHECK(list.devices[1].found.memory_bytes == 2000000);
    CHECK(list.devices[2].found.unusable == "");
    CHECK(list.devices[3].found.unusable.find(
              "hip: device 3 (HIP double): unknown arch 'gfx906'") == 0);
    CHECK(open_device("hip")->arch().name == "gfx1101");
    CHECK(open_device("")->arch().name == "gfx1101");
    CHECK(open_device({.index = 0}, {})->arch().name == "gfx1103");
    const auto second = open_device({.backend = "hip", .index = 1}, {});
    CHECK(second->arch().name == "gfx1100");
    CHECK(second->info().memory_bytes == 2000000);
    CHECK(error_of([] { open_device({.index = 3}, {}); }).find("unknown arch 'gfx906'") !=
          std::string::npos);
    CHECK_THROWS_WITH_AS(open_device({.backend = "hip", .index = 4}, {}),
                         doctest::Contains("ModelOptions::device is 4, but there are 4 GPUs"),
                         OptionError);
    CHECK_THROWS_WITH_AS(open_device({.backend = "hip", .threads = 2}, {}),
                         doctest::Contains("ModelOptions::threads is 2, but the kernels run on"),
                         OptionError);
    CHECK(open_device({.backend = "cpu", .threads = 3}, {})->info().compute_units == 3);
    // One that cannot be opened makes way for the next best.
    const Variables broken{{"HETUNE_FAKE_HIP_BROKEN", "0,0,1"}};
    CHECK(open_device("hip")->arch().name == "gfx1100");
}

TEST_CASE("A small model takes the CPU where no GPU can be used, and says why; a large one fails") {
    const Double hip;
    const Variables old{{"HETUNE_FAKE_HIP_ARCH", "gfx1032,gfx803"},
                        {"HETUNE_FAKE_HIP_DEVICES", "2"}};
    std::vector<std::string> lines;
    const auto warn = [&](const std::string& line) { lines.push_back(line); };
    const auto names_each_device = [](const std::string& text) {
        CHECK(text.find("hip: device 0 (HIP double): gfx1032 is no arch that hetune knows; "
                        "HSA_OVERRIDE_GFX_VERSION=10.3.0") != std::string::npos);
        CHECK(text.find("hip: device 1 (HIP double): unknown arch 'gfx803'") != std::string::npos);
        CHECK(text.find("cuda: ") != std::string::npos);
        CHECK(text.find("ModelOptions::backend = \"cpu\"") != std::string::npos);
        CHECK(text.find('\n') == std::string::npos);
    };
    if (!open_device("")->info().backend.starts_with("cpu")) return;  // there is an NVIDIA GPU
    CHECK(open_device({.model_bytes = kLargestOnCpu}, warn)->info().backend == "cpu");
    REQUIRE(lines.size() == 1);
    names_each_device(lines[0]);
    names_each_device(error_of([&] { open_device({.model_bytes = kLargestOnCpu + 1}, warn); }));
    lines.clear();
    open_device({.backend = "cpu", .model_bytes = kLargestOnCpu + 1}, warn);
    CHECK(lines.empty());
}

TEST_CASE("The HIP device reads arch, name, memory and version from HIP 5 and 6 properties") {
    for (const char* library : {HETUNE_HIP_DOUBLE, HETUNE_HIP5_DOUBLE}) {
        CAPTURE(library);
        const Double hip(library);
        const Variables card{{"HETUNE_FAKE_HIP_ARCH", "gfx1151:sramecc-:xnack-"},
                             {"HETUNE_FAKE_HIP_MEMORY", "12345678"},
                             {"HETUNE_FAKE_HIP_INTEGRATED", "1"}};
        const auto device = open_device("hip");
        const DeviceInfo info = device->info();
        CHECK(device->arch().name == "gfx1151");
        CHECK(info.backend == "hip");
        CHECK(info.name == "HIP double");
        CHECK(info.driver.starts_with("HIP 6.2.41133, "));
        CHECK(info.memory_bytes == 12345678);
        CHECK(info.free_bytes == 12345678);
        CHECK(info.compute_units == 96);
        CHECK(info.unified_memory);
    }
}

TEST_CASE("The HIP device copies, fills and adopts, and refuses what lies outside a buffer") {
    const Double hip;
    test::copies_and_fills(*open_device("hip"));
}

TEST_CASE("The HIP device runs kernels with tails, barriers and several modules at once") {
    const Double hip;
    test::runs_kernels(*open_device("hip"), kObjectArch);
}

TEST_CASE("The HIP device takes uploads that are made on the way, several at a time") {
    const Double hip;
    test::uploads_what_is_made(*open_device("hip"));
}

TEST_CASE("The HIP device replays what was captured") {
    const Double hip;
    test::replays_graphs(*open_device("hip"), kObjectArch);
}

TEST_CASE("A kernel of the HIP device writes memory of the host, which is read behind a mark") {
    const Double hip;
    test::writes_host_memory(*open_device("hip"), kObjectArch);
}

TEST_CASE(
    "A large upload goes through pinned memory in pieces, in order with launches and copies") {
    const Double hip;
    const auto device = open_device("hip");
    const auto module = device->load(test::compile(test::binary("Add", 32, 1), kObjectArch));
    // More than all pieces of the pinned memory together, and not a whole number of them.
    std::vector<float> values((70u << 20) / 4 + 100);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1000);
    const auto big = test::put(*device, values), sum = device->allocate(128);
    const int32_t state[2] = {1, 0};  // the rows come first
    const auto step = device->allocate(8);
    device->upload(*step, 0, std::as_bytes(std::span(state)));
    const auto args = test::pointers({step.get(), big.get(), big.get(), sum.get()});
    device->launch(*module, {}, args);  // sees the upload before it, and not the one behind
    const std::vector<float> others(values.size(), -1.0f);
    device->upload(*big, 0, std::as_bytes(std::span(others)));
    const std::vector<float> got = test::get(*device, *sum);
    for (size_t i = 0; i < 32; ++i) REQUIRE(got[i] == 2 * values[i]);
    CHECK(test::get(*device, *big) == others);
    device->upload(*big, 400, std::as_bytes(std::span(values)).first(32u << 20));
    const std::vector<float> after = test::get(*device, *big);
    CHECK(after[99] == -1.0f);
    CHECK(after[100] == values[0]);
    CHECK(std::equal(values.begin(), values.begin() + (8 << 20), after.begin() + 100));
    CHECK(after.back() == -1.0f);
}

TEST_CASE("A refused call of a large upload is named, and the device refuses what comes later") {
    const Double hip;
    for (const std::string call :
         {"hipHostMalloc", "hipStreamWaitEvent", "hipHostGetDevicePointer"}) {
        CAPTURE(call);
        const auto device = open_device("hip");
        const auto big = device->allocate(4 << 20);
        const std::vector<std::byte> bytes(4 << 20);
        const Variables fault{{"HETUNE_FAKE_HIP_FAIL", call + ":1"}};
        const bool host = call == "hipHostGetDevicePointer";
        const std::string error = error_of(
            [&] { host ? void(device->allocate_host(64)) : device->upload(*big, 0, bytes); });
        CHECK(error.find(call) != std::string::npos);
        if (!host)
            CHECK(error_of([&] { device->allocate(1); }).find("refused") != std::string::npos);
    }
}

TEST_CASE("An APU uses adopted memory in place, and copies what the driver will not map") {
    const Double hip;
    const Variables apu{{"HETUNE_FAKE_HIP_INTEGRATED", "1"}};
    const auto device = open_device("hip");
    const std::vector<float> values(64, 3.0f);
    const auto address = reinterpret_cast<uint64_t>(values.data());
    CHECK(device->adopt(std::as_bytes(std::span(values)))->address() == address);

    const Variables fault{{"HETUNE_FAKE_HIP_FAIL", "hipHostRegister:1"}};
    const auto copy = device->adopt(std::as_bytes(std::span(values)));
    CHECK(copy->address() != address);
    CHECK(test::get(*device, *copy) == values);
}

TEST_CASE("More memory than there is: an error that names the size, and the device goes on") {
    const Double hip;
    const Variables small{{"HETUNE_FAKE_HIP_MEMORY", "100000"}};
    const auto device = open_device("hip");
    const auto first = device->allocate(60000);
    CHECK(error_of([&] { device->allocate(50000); }) ==
          "hip: hipMalloc of 50000 bytes failed: 2 (hipErrorOutOfMemory: out of memory)");
    CHECK(device->info().free_bytes == 40000);
    device->allocate(40000);
}

TEST_CASE("An object of another target is refused by name, and the device goes on") {
    const Double hip;
    const auto device = open_device("hip");
    CHECK(error_of([&] {
              device->load({.bytes = std::vector<std::byte>(128), .entry = "gemv"});
          }).find("hipModuleLoadData of gemv failed: 209") != std::string::npos);
    device->load(add_kernel());
}

TEST_CASE("A failed call of any kind is named, with its number") {
    // All that a session does once.
    const auto session = [] {
        const auto device = open_device("hip");
        const std::vector<float> ones(32, 1.0f);
        const auto x = test::put(*device, ones);
        const auto step = device->allocate(8);
        const int32_t values[2] = {1, 0};  // the rows come first
        device->upload(*step, 0, std::as_bytes(std::span(values)));
        const auto module = device->load(add_kernel());
        const auto args = test::pointers({step.get(), x.get(), x.get(), x.get()});
        const auto graph = device->capture([&] { device->launch(*module, {}, args); });
        device->fill(*x, 0, 4, 0);
        device->copy({*x}, {*step}, step->bytes());
        device->time_ms([&] { device->replay(*graph); });
        device->synchronize();
        test::get(*device, *x);
    };
    const char* calls[] = {"hipInit",
                           "hipGetDeviceCount",
                           "hipSetDevice",
                           "hipDriverGetVersion",
                           "hipGetDevicePropertiesR0600",
                           "hipMalloc",
                           "hipMemcpyHtoDAsync",
                           "hipMemcpyDtoHAsync",
                           "hipMemsetD8Async",
                           "hipMemcpyDtoDAsync",
                           "hipStreamCreateWithFlags",
                           "hipModuleLoadData",
                           "hipModuleGetFunction",
                           "hipModuleLaunchKernel",
                           "hipEventCreateWithFlags",
                           "hipEventRecord",
                           "hipEventSynchronize",
                           "hipEventElapsedTime",
                           "hipStreamBeginCapture",
                           "hipStreamEndCapture",
                           "hipGraphInstantiateWithFlags",
                           "hipGraphLaunch"};
    const Double hip;
    session();
    for (const std::string call : calls) {
        CAPTURE(call);
        const Variables fault{{"HETUNE_FAKE_HIP_FAIL", call + ":1"}};
        const std::string error = error_of(session);
        CHECK(error.find(call) != std::string::npos);
        CHECK(error.find("failed: 999 (hipErrorUnknown") != std::string::npos);
    }
    session();
}

TEST_CASE("After a failed launch every call is refused and says what failed first") {
    const Double hip;
    const auto device = open_device("hip");
    const auto buffer = device->allocate(64);
    const auto module = device->load(add_kernel());
    const LaunchShape too_many{.groups = {2, 1, 1}, .threads = 2048};
    const std::string first = error_of([&] { device->launch(*module, too_many, {}); });
    CHECK(first.find("hipModuleLaunchKernel of binary with 2 x 1 x 1 groups of 2048 threads "
                     "failed: 9 (hipErrorInvalidConfiguration") != std::string::npos);
    const std::function<void()> acts[] = {
        [&] { device->allocate(1); },
        [&] { device->fill(*buffer, 0, 1, 0); },
        [&] { test::get(*device, *buffer); },
        [&] { device->load(add_kernel()); },
        [&] { device->launch(*module, {}, {}); },
        [&] { device->synchronize(); },
        [&] { device->capture([] {}); },
        [&] { device->time_ms([] {}); },
    };
    for (const auto& act : acts) {
        const std::string error = error_of(act);
        CHECK(error.find("refused, the device failed before") != std::string::npos);
        CHECK(error.find(first) != std::string::npos);
    }
}

TEST_CASE("A kernel that faults while it runs is told by the next call that waits") {
    Double hip;
    const auto device = open_device("hip");
    const auto module = device->load(add_kernel());
    auto gone = device->allocate(256);
    const auto args = test::pointers({gone.get(), gone.get(), gone.get(), gone.get()});
    gone.reset();
    device->launch(*module, {}, args);
    CHECK(error_of([&] { device->synchronize(); }).find("hipEventSynchronize failed: 700") !=
          std::string::npos);
    CHECK(error_of([&] { device->allocate(1); }).find("refused") != std::string::npos);
    CHECK(hip.misuse() == "launch: use after free in an argument");
}

TEST_CASE("A buffer may be freed on another thread than the one that made it") {
    const Double hip;
    const auto device = open_device("hip");
    auto buffer = device->allocate(64);
    std::jthread([&] { buffer.reset(); }).join();
}

// A driver with loops, in whose body a launch is refused; afterwards `broken` tells whether the
// device still works.
bool broken = false;
int fails() { return 719; }
int works() { return broken ? 719 : 0; }

GpuApi driver_with_loops() {
    GpuApi api;
    api.backend = "table";
    const auto call = [](auto& to, const char* name, auto* function) { to = {name, function}; };
    call(
        api.memory_info, "memory_info", +[](size_t*, size_t*) { return 0; });
    call(
        api.allocate, "allocate", +[](void** address, size_t bytes) {
            *address = std::calloc(1, bytes);
            return 0;
        });
    call(
        api.free, "free", +[](void* address) {
            std::free(address);
            return 0;
        });
    call(
        api.to_device, "to_device", +[](void*, const void*, size_t, void*) { return works(); });
    call(
        api.stream_create, "stream_create", +[](void** stream, unsigned) {
            *stream = nullptr;
            return 0;
        });
    const auto ends = +[](void*) { return 0; };
    for (auto* release : {&api.stream_destroy, &api.event_destroy, &api.module_unload,
                          &api.graph_destroy, &api.executable_destroy, &api.host_free})
        call(*release, "release", ends);
    call(
        api.module_load, "module_load", +[](void** module, const void*) {
            *module = nullptr;
            return 0;
        });
    call(
        api.module_function, "module_function", +[](void**, void*, const char*) { return 0; });
    call(
        api.launch, "launch",
        +[](void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
            void**, void**) { return fails(); });
    call(
        api.event_create, "event_create", +[](void** event, unsigned) {
            *event = nullptr;
            return 0;
        });
    call(
        api.event_record, "event_record", +[](void*, void*) { return works(); });
    call(
        api.event_synchronize, "event_synchronize", +[](void*) { return works(); });
    call(
        api.capture_to, "capture_to",
        +[](void*, void*, const void*, const void*, size_t, int) { return 0; });
    call(
        api.capture_end, "capture_end", +[](void*, void**) { return 0; });
    api.facts = [](int) {
        return GpuFacts{.name = "a table", .arch = "sm_90", .graph_loops = true};
    };
    api.attach = [](int) { return [] { return 0; }; };
    api.make_loop = [](GpuLoop*) { return 0; };
    api.error_text = [](int) { return std::string("an error"); };
    return api;
}

TEST_CASE("a launch that a loop's body refuses leaves the device usable; a fault does not") {
    for (const bool fault : {false, true}) {
        CAPTURE(fault);
        broken = false;
        const auto device = open_gpu(driver_with_loops(), 0);
        const auto handle = device->allocate(8);
        const auto module = device->load(CodeObject{.bytes = {std::byte{1}}, .entry = "kernel"});
        const auto capture = [&] {
            return device->capture_loop(*handle, [&] {
                broken = fault;
                device->launch(*module, {}, {});
            });
        };
        if (fault) {
            CHECK_THROWS_AS(capture(), DeviceError);
            CHECK_THROWS_WITH_AS(device->synchronize(), doctest::Contains("failed before"),
                                 DeviceError);
        } else {
            CHECK(capture() == nullptr);
            device->synchronize();
        }
        broken = false;
    }
}

}  // namespace hetune
