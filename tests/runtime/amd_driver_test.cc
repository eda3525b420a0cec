// What `hetune doctor` says where HIP finds no GPU.
#include "runtime/device/gpu/amd_driver.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "cache/scratch_folder.h"

namespace hetune::testing {
namespace {

namespace fs = std::filesystem;

class Machine {
  public:
    void file(const std::string& path, const std::string& text = {}) {
        const fs::path at = fs::path(root_.path()) / path;
        fs::create_directories(at.parent_path());
        std::ofstream(at) << text;
    }
    void closed(const std::string& path) {
        file(path);
        chmod((fs::path(root_.path()) / path).c_str(), 0);
    }
    bool advises(const std::string& words) const {
        const std::string advice = amd_driver_advice(root_.path());
        CAPTURE(advice);
        CHECK(advice.find('\n') == std::string::npos);
        return advice.find(words) != std::string::npos;
    }

  private:
    ScratchFolder root_;
};

TEST_CASE("without /dev/kfd the advice follows from what else is there") {
    CHECK(Machine().advises("neither /dev/kfd nor an AMD GPU"));
    Machine wsl;
    wsl.file("dev/dxg");
    CHECK(wsl.advises("this is WSL"));
    Machine container;
    container.file("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "5095\n");
    CHECK(container.advises("--device /dev/kfd --device /dev/dri"));
    Machine no_driver;
    no_driver.file("sys/bus/pci/devices/0000:03:00.0/vendor", "0x1002\n");
    no_driver.file("sys/bus/pci/devices/0000:03:00.0/class", "0x030000\n");
    CHECK(no_driver.advises("modprobe amdgpu"));
    Machine audio;  // the card's sound device alone is no card
    audio.file("sys/bus/pci/devices/0000:03:00.1/vendor", "0x1002\n");
    audio.file("sys/bus/pci/devices/0000:03:00.1/class", "0x040300\n");
    CHECK(audio.advises("neither /dev/kfd nor an AMD GPU"));
}

TEST_CASE("with /dev/kfd the advice is about rights, render nodes and cards") {
    Machine machine;
    if (geteuid() != 0) {  // root may open any file
        Machine locked;
        locked.closed("dev/kfd");
        CHECK(locked.advises("usermod -aG render,video"));
        Machine half;
        half.file("dev/kfd");
        half.closed("dev/dri/renderD128");
        CHECK(half.advises("may not open /dev/dri/renderD*"));
    }
    machine.file("dev/kfd");
    CHECK(machine.advises("there is no /dev/dri/renderD*"));
    machine.file("dev/dri/renderD128");
    machine.file("sys/class/kfd/kfd/topology/nodes/0/gpu_id", "0\n");
    CHECK(machine.advises("lists no GPU that computes"));
    machine.file("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "5095\n");
    CHECK(machine.advises("lists one GPU"));
    CHECK(machine.advises("HIP_VISIBLE_DEVICES"));
}

}  // namespace
}  // namespace hetune::testing
