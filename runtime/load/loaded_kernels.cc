#include "runtime/load/loaded_kernels.h"

#include "runtime/compile/kernel_library.h"

namespace hetune {

void LoadedKernels::load(Device& device, const KernelSpec& spec, const CodeObject& code) {
    if (contains(spec)) return;
    by_spec_.emplace(spec, LoadedKernel{device.load(code), hash_of(code)});
}

std::vector<Module*> LoadedKernels::modules_of(const Plan& plan) const {
    std::vector<Module*> modules;
    for (const KernelSpec& spec : plan.kernels) modules.push_back(at(spec).module.get());
    return modules;
}

}  // namespace hetune
