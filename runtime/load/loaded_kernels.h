// Kernels on a device, shared by all plans of a load or of a sweep, each once.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "cache/key.h"
#include "planner/plan/plan.h"
#include "runtime/device/device.h"

namespace hetune {

struct LoadedKernel {
    std::unique_ptr<Module> module;
    CacheKey object;  // hash of the bytes of its code object
};

class LoadedKernels {
  public:
    // Loads the kernel's object, unless the kernel is here. Throws DeviceError.
    void load(Device& device, const KernelSpec& spec, const CodeObject& code);
    bool contains(const KernelSpec& spec) const { return by_spec_.contains(spec); }
    // Throws std::out_of_range for a kernel that is not here.
    const LoadedKernel& at(const KernelSpec& spec) const { return by_spec_.at(spec); }
    void erase(const KernelSpec& spec) { by_spec_.erase(spec); }
    // One module for each of Plan::kernels, in that order; all kernels of the plan are here.
    std::vector<Module*> modules_of(const Plan& plan) const;

  private:
    std::map<KernelSpec, LoadedKernel> by_spec_;
};

}  // namespace hetune
