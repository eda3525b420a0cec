#include "tools/chosen_arch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "tools/terminal.h"

namespace hetune {
namespace {

// Why no GPU was taken, one text for each device and backend.
std::string gpus_not_taken() {
    const DeviceList list = list_devices();
    std::vector<std::string> reasons = list.missing;
    for (const ListedDevice& device : list.devices)
        if (!device.found.unusable.empty())
            reasons.push_back(fmt::format("{}: {}", device.found.name, device.found.unusable));
    return fmt::format("{}", fmt::join(reasons, "; "));
}

}  // namespace

void tell_chosen_arch(const Device& device, const std::string& backend) {
    std::string why;
    if (!backend.empty())
        why = fmt::format("the best device of --backend {}", backend);
    else if (device.arch().on_host)
        why = "since no GPU can be used: " + gpus_not_taken();
    else
        why = "the best of `hetune devices`";
    tell("hetune: for {}, the arch of {}, {}; --arch names another\n", device.arch().name,
         device.info().name, why);
}

Arch chosen_arch(bool quiet) {
    const auto device = open_device("");
    if (!quiet) tell_chosen_arch(*device, "");
    return device->arch();
}

}  // namespace hetune
