// Which device's arch a command takes where --arch names none.
#pragma once

#include <string>

#include "runtime/device/device.h"

namespace hetune {

// One line on stderr for the device that open_device(backend) took: which one and why.
void tell_chosen_arch(const Device& device, const std::string& backend);

// The arch of the device that `hetune run` would take, with that line unless `quiet`. Throws
// DeviceError.
Arch chosen_arch(bool quiet);

}  // namespace hetune
