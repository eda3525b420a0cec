// What stands between HIP and an AMD GPU on this machine: the part that the kernel and the rights
// of this user decide.
#pragma once

#include <filesystem>
#include <string>

namespace hetune {

// One line with the fault and what to do, for a HIP runtime that finds no GPU. Looks at /dev/kfd,
// /dev/dri, /dev/dxg and /sys below `root`.
std::string amd_driver_advice(const std::filesystem::path& root = "/");

}  // namespace hetune
