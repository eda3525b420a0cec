// A kernel compiled for the CPU, loaded from memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernel_templates/prelude/cpu_abi.h"

namespace hetune {

class CpuKernel {
  public:
    // `object` is a shared object that exports hetune_cpu_entry; it is copied. `name` is for
    // messages. Throws DeviceError.
    CpuKernel(std::span<const std::byte> object, const std::string& name);
    ~CpuKernel();
    CpuKernel(const CpuKernel&) = delete;
    CpuKernel& operator=(const CpuKernel&) = delete;

    HetuneCpuEntry entry() const { return entry_; }

  private:
    void* handle_ = nullptr;
    HetuneCpuEntry entry_ = nullptr;
};

}  // namespace hetune
