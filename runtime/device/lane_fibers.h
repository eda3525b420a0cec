// Runs the groups of a launch on a few threads, each group's lanes as fibers of one of them.
//
// Fibers and their stacks are made once per thread and kept: making them anew for each group cost
// 0.7 ms a group. A lane runs until it meets its wave (an exchange) or its group (a barrier).
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "runtime/device/cpu_kernel.h"
#include "runtime/device/device.h"

namespace hetune {

class LaneFibers {
  public:
    explicit LaneFibers(int threads);  // 0: one for each core this process may use
    ~LaneFibers();

    int threads() const;
    // Returns when all groups are done. Throws DeviceError when lanes of a wave disagree on the
    // next exchange or barrier, which would hang a GPU.
    void run(const CpuEntry& entry, const LaunchShape& shape, std::span<const std::byte> args);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace hetune
