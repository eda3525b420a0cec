// A model on a device: plans made, kernels compiled or taken from the cache and tried out, weights
// in tiles. Made once and not changed any more: any number of threads may read one. What its
// sequences need is in ContextMemory, what its steps need in Stepper.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "planner/plan/plan.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/device/device.h"
#include "runtime/load/bound_plan.h"
#include "runtime/load/memory.h"
#include "runtime/load/model_plans.h"
#include "runtime/load/weights.h"
#include "runtime/trial/certify.h"

namespace hetune {

// Progress of a load: "compile", "repack", "certify", with a count of how many are
// done.
using LoadProgress = std::function<void(const std::string& stage, size_t done, size_t total)>;

struct LoadTimes {
    double plan_ms = 0;     // graph and plans
    double compile_ms = 0;  // compiling, or looking up in the cache
    double repack_ms = 0;   // repacking, or mapping
    double load_ms = 0;     // modules, allocation, upload
    double certify_ms = 0;  // trials, or looking up their results
};

// How kernels are checked before their first use, and who hears which of them are not used.
struct LoadChecks {
    CertifyMode certify = CertifyMode::kOnce;
    bool retry = false;  // try again what was refused earlier
    std::function<void(const std::string& line)> warn = {};
};

class LoadedModel {
  public:
    // File, device and library outlive the model; `tiles` may be nullptr (Weights). A kernel that
    // does not compile, fails a gate or its trial is not used: the planner's next variant is.
    // Throws ModelError, CompileError, DeviceError, and MemoryError before anything is allocated.
    LoadedModel(const ModelFile& file, Device& device, KernelLibrary& library, TileStore* tiles,
                LoadOptions options, const LoadProgress& progress = {},
                const LoadChecks& checks = {});

    const ModelFile& file() const { return file_; }
    Device& device() const { return device_; }
    const LayerGraph& graph() const { return graph_; }
    // With the rows of a prefill step, and with what was refused.
    const LoadOptions& options() const { return options_; }
    const ModelPlans& plans() const { return plans_; }
    const LoadedKernels& kernels() const { return kernels_; }
    // The memory of a buffer of weights; nullptr where there is none of that name.
    Buffer* weight(const std::string& name) const { return weights_.find(name); }

    // Memory of the model and of one context.
    const MemoryNeeds& memory() const { return memory_; }
    const LoadTimes& times() const { return times_; }
    bool repacked() const { return weights_.repacked(); }
    // Certificates of the kernels in use, and of kernels that failed; empty where nothing was
    // certified.
    const std::vector<CertifiedKernel>& certificates() const { return certificates_; }
    // As the model's options make it; need not be one of plans().
    Plan plan_for(const StepKind& kind) const;

  private:
    // Arguments that the steps of a load share.
    struct Loading {
        KernelLibrary& library;
        const LoadProgress& progress;
        const LoadChecks& checks;
    };
    // Each makes or checks all kernels of the plans; false where some were refused, so that the
    // plans are made anew.
    bool make_kernels(Loading& loading);
    bool certify_kernels(Loading& loading);
    void refuse(const KernelSpec& spec, const std::string& reason, const LoadChecks& checks);

    const ModelFile& file_;
    Device& device_;
    LayerGraph graph_;
    LoadOptions options_;
    int64_t memory_limit_;  // as it was before anything was allocated
    Weights weights_;
    LoadedKernels kernels_;
    ModelPlans plans_;
    LoadTimes times_;
    MemoryNeeds memory_;
    std::vector<CertifiedKernel> certificates_;
};

}  // namespace hetune
