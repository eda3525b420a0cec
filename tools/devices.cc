// hetune devices: the GPUs of this machine, by the index that --device takes.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "runtime/api/hetune.h"
#include "runtime/device/readable_bytes.h"
#include "runtime/load/memory.h"
#include "tools/command.h"

namespace hetune {
namespace {

void print_devices(const std::vector<DeviceListing>& list,
                   const std::vector<std::string>& missing) {
    fmt::print("{:>5}  {:8} {:32} {:10} {:>10}  {}\n", "index", "backend", "name", "arch", "memory",
               "kind");
    for (const DeviceListing& device : list) {
        const bool cpu = device.index < 0;
        fmt::print("{:>5}  {:8} {:32} {:10} {:>10}  {}\n", cpu ? "-" : std::to_string(device.index),
                   device.backend, device.name, device.arch, readable_bytes(device.memory_bytes),
                   cpu                 ? "CPU, by --backend cpu"
                   : device.integrated ? "integrated GPU"
                                       : "GPU");
        if (!device.unusable.empty()) fmt::print("       not used: {}\n", device.unusable);
    }
    for (const std::string& line : missing) fmt::print("no {}\n", line);
}

nlohmann::ordered_json devices_json(const std::vector<DeviceListing>& list,
                                    const std::vector<std::string>& missing) {
    nlohmann::ordered_json devices = nlohmann::ordered_json::array();
    for (const DeviceListing& device : list)
        devices.push_back({{"index", device.index < 0 ? nlohmann::ordered_json()
                                                      : nlohmann::ordered_json(device.index)},
                           {"backend", device.backend},
                           {"name", device.name},
                           {"arch", device.arch},
                           {"memory_bytes", device.memory_bytes},
                           {"integrated", device.integrated},
                           {"unusable", device.unusable}});
    return {{"devices", devices}, {"missing", missing}};
}

const RegisterCommand kDevices{
    "devices", "Lists the GPUs of this machine", [](CLI::App& app) {
        auto json = std::make_shared<bool>(false);
        app.add_flag("--json", *json, "print JSON");
        app.footer(
            "Without --device the best GPU is taken: one with memory of its own before an\n"
            "integrated one, then the one with more memory. HIP_VISIBLE_DEVICES and\n"
            "CUDA_VISIBLE_DEVICES, which the drivers read, hide GPUs from this list.\n\n"
            "Example:\n  hetune devices\n  hetune run model.gguf --device 1 -p Hello");
        return [json] {
            std::vector<std::string> missing;
            const std::vector<DeviceListing> list = devices(&missing);
            if (*json)
                fmt::print("{}\n", devices_json(list, missing)
                                       .dump(2, ' ', false,
                                             nlohmann::ordered_json::error_handler_t::replace));
            else
                print_devices(list, missing);
            return 0;
        };
    }};

}  // namespace
}  // namespace hetune
