// A kernel compiled for the CPU, loaded from memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernel_templates/prelude/cpu_abi.h"

namespace hetune {

struct CpuEntry {
    HetuneCpuEntry call = nullptr;
    bool first_lane_only = false;  // FIRST_LANE_ONLY of prelude/cpu.h
};

class CpuKernel {
  public:
    // `object` is a shared object that exports hetune_cpu_entry; it is copied. `name` is for
    // messages. Throws DeviceError.
    CpuKernel(std::span<const std::byte> object, const std::string& name);
    ~CpuKernel();
    CpuKernel(const CpuKernel&) = delete;
    CpuKernel& operator=(const CpuKernel&) = delete;

    const CpuEntry& entry() const { return entry_; }

  private:
    void* handle_ = nullptr;
    CpuEntry entry_;
};

}  // namespace hetune
