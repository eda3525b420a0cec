#include "runtime/device/gpu/amd_driver.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <system_error>
#include <vector>

namespace hetune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kContainer =
    "a container gets it by --device /dev/kfd --device /dev/dri --group-add video --group-add "
    "render";
constexpr const char* kGroups =
    "`sudo usermod -aG render,video $USER`, then log in again; in a container --group-add with the "
    "number of the file's group";

std::vector<fs::path> entries(const fs::path& folder) {
    std::vector<fs::path> list;
    std::error_code error;
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
        list.push_back(at->path());
    return list;
}

bool is_there(const fs::path& path) { return access(path.c_str(), F_OK) == 0; }
bool usable(const fs::path& path) { return access(path.c_str(), R_OK | W_OK) == 0; }

std::string first_word(const fs::path& file) {
    std::string word;
    std::ifstream(file) >> word;
    return word;
}

// Display controllers (PCI class 03) of AMD (vendor 1002).
bool card_on_pci(const fs::path& root) {
    for (const fs::path& device : entries(root / "sys/bus/pci/devices"))
        if (first_word(device / "vendor") == "0x1002" &&
            first_word(device / "class").starts_with("0x03"))
            return true;
    return false;
}

// Nodes of the driver that compute: a CPU has the id 0.
int compute_nodes(const fs::path& root) {
    int count = 0;
    for (const fs::path& node : entries(root / "sys/class/kfd/kfd/topology/nodes")) {
        const std::string id = first_word(node / "gpu_id");
        count += !id.empty() && id != "0";
    }
    return count;
}

std::string why_no_kfd(const fs::path& root) {
    if (is_there(root / "dev/dxg"))
        return "this is WSL (/dev/dxg): it needs AMD's HIP runtime for WSL, see "
               "https://rocm.docs.amd.com/projects/radeon (WSL)";
    if (is_there(root / "sys/class/kfd"))
        return fmt::format("the amdgpu driver is loaded, but /dev/kfd is not here: {}", kContainer);
    if (is_there(root / "sys/module/amdgpu"))
        return "the amdgpu driver is loaded without its compute part (/dev/kfd): use a kernel with "
               "CONFIG_HSA_AMD";
    if (card_on_pci(root))
        return "an AMD GPU is on the PCI bus, but the amdgpu driver is not loaded: `sudo modprobe "
               "amdgpu`; Debian has its firmware in firmware-amd-graphics";
    return "neither /dev/kfd nor an AMD GPU on the PCI bus is here";
}

}  // namespace

std::string amd_driver_advice(const fs::path& root) {
    if (!is_there(root / "dev/kfd")) return why_no_kfd(root);
    if (!usable(root / "dev/kfd"))
        return fmt::format("this user may not open /dev/kfd: {}", kGroups);
    bool render = false, render_usable = false;
    for (const fs::path& device : entries(root / "dev/dri"))
        if (device.filename().string().starts_with("renderD")) {
            render = true;
            render_usable |= usable(device);
        }
    if (!render) return fmt::format("there is no /dev/dri/renderD*: {}", kContainer);
    if (!render_usable) return fmt::format("this user may not open /dev/dri/renderD*: {}", kGroups);
    const int nodes = compute_nodes(root);
    if (nodes == 0)
        return "the amdgpu driver lists no GPU that computes (/sys/class/kfd); it is too old for "
               "the card, or the card for it";
    return fmt::format(
        "the amdgpu driver lists {}, and this user may open the device files: the HIP runtime is "
        "too old for the card, or HIP_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES hides it",
        nodes == 1 ? "one GPU" : fmt::format("{} GPUs", nodes));
}

}  // namespace hetune
