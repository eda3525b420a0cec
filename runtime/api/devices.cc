#include "cache/code_store.h"
#include "runtime/api/hetune.h"
#include "runtime/device/device.h"

namespace hetune {

std::vector<DeviceListing> devices(std::vector<std::string>* unavailable) {
    DeviceList list = list_devices();
    std::vector<DeviceListing> listings;
    for (const ListedDevice& device : list.devices)
        listings.push_back({.index = device.index,
                            .backend = device.backend->name,
                            .name = device.found.name,
                            .arch = device.found.arch,
                            .memory_bytes = static_cast<int64_t>(device.found.memory_bytes),
                            .integrated = device.found.integrated,
                            .unusable = device.found.unusable});
    if (unavailable != nullptr) *unavailable = std::move(list.missing);
    return listings;
}

const char* version() { return HETUNE_VERSION; }
std::string cache_folder() { return cache_options_from_environment({}).folder.string(); }

}  // namespace hetune
