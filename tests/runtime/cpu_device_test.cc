#include "runtime/device/cpu_device.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "device_cases.h"

namespace hetune {
namespace {

// HETUNE_CPU_ARCH for a while.
class AskedArch {
  public:
    explicit AskedArch(const char* name) { setenv("HETUNE_CPU_ARCH", name, 1); }
    ~AskedArch() {
        if (before_.empty())
            unsetenv("HETUNE_CPU_ARCH");
        else
            setenv("HETUNE_CPU_ARCH", before_.c_str(), 1);
    }

  private:
    std::string before_ =
        std::getenv("HETUNE_CPU_ARCH") != nullptr ? std::getenv("HETUNE_CPU_ARCH") : "";
};

}  // namespace

TEST_CASE("The cpu device copies, fills and adopts, and refuses what lies outside a buffer") {
    test::copies_and_fills(*open_cpu_device(1));
}

TEST_CASE("The cpu device runs kernels with tails, barriers and several modules at once") {
    for (const int threads : {1, 3}) {
        CAPTURE(threads);
        const auto device = open_cpu_device(threads);
        CHECK(device->info().compute_units == threads);
        test::runs_kernels(*device, "x86-64-v3");
    }
}

TEST_CASE("The cpu device has the best arch of the processor, or the one that is asked for") {
    const AskedArch any("");
    const bool has_v4 = open_cpu_device(1)->arch().name == "x86-64-v4";
    CHECK((has_v4 || open_cpu_device(1)->arch().name == "x86-64-v3"));
    {
        const AskedArch asked("x86-64-v3");
        CHECK(open_cpu_device(1)->arch().name == "x86-64-v3");
    }
    {
        const AskedArch asked("x86-64-v9");
        CHECK_THROWS_WITH_AS(open_cpu_device(1),
                             doctest::Contains("HETUNE_CPU_ARCH is 'x86-64-v9'; it may be"),
                             DeviceError);
    }
    const AskedArch asked("x86-64-v4");
    if (has_v4)
        test::runs_kernels(*open_cpu_device(2), "x86-64-v4");
    else
        CHECK_THROWS_WITH_AS(open_cpu_device(1), doctest::Contains("no AVX-512 with VNNI"),
                             DeviceError);
}

TEST_CASE("A kernel of the cpu device writes memory of the host") {
    test::writes_host_memory(*open_cpu_device(2), "x86-64-v3");
}

TEST_CASE("The cpu device replays what was captured") {
    test::replays_graphs(*open_cpu_device(2), "x86-64-v3");
    test::replays_loops(*open_cpu_device(2), "x86-64-v3");
}

TEST_CASE("The cpu device takes uploads that are made on the way") {
    test::uploads_what_is_made(*open_cpu_device(1));
}

TEST_CASE("The cpu device says what is wrong with an object that is no kernel") {
    const auto device = open_cpu_device(1);
    CHECK_THROWS_WITH_AS(device->load({.bytes = std::vector<std::byte>(100), .entry = "gemv"}),
                         doctest::Contains("cpu: loading gemv: "), DeviceError);
    CHECK_THROWS_AS(device->load({.entry = "gemv"}), DeviceError);
}

TEST_CASE("The cpu device adopts host memory in place") {
    const std::vector<std::byte> host(512);
    const auto buffer = open_cpu_device(1)->adopt(host);
    CHECK(buffer->address() == reinterpret_cast<uint64_t>(host.data()));
}

TEST_CASE("Hundreds of kernels are loaded and unloaded in any order") {
    const auto device = open_cpu_device(1);
    const CodeObject add = test::compile(test::binary("Add", 32, 1), "x86-64-v3");
    std::vector<std::unique_ptr<Module>> modules;
    for (int i = 0; i < 300; ++i) {
        modules.push_back(device->load(add));
        if (i % 3 == 2) modules.erase(modules.begin());
    }
    CHECK(modules.size() == 200);
}

}  // namespace hetune
