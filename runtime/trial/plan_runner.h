// A whole plan on a device with memory of its own for what belongs to one plan: to time it, to see
// what its steps find, and to compare its logits.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "runtime/compile/kernel_library.h"
#include "runtime/load/bound_plan.h"
#include "runtime/trial/bench_memory.h"

namespace hetune {

// Loads what `loaded` lacks of a plan's kernels. Throws CompileError.
void load_kernels(Device& device, KernelLibrary& library, const Plan& plan, LoadedKernels& loaded);

class PlanRunner {
  public:
    // `kernels` has those of the plan. Device, memory and kernels outlive this.
    PlanRunner(Device& device, BenchMemory& memory, Plan plan, const LoadedKernels& kernels);

    const Plan& plan() const { return bound_->plan(); }
    BoundPlan& bound() { return *bound_; }
    int rows() const { return plan().options.rows; }
    // Of plan().buffers.
    Buffer& buffer(int index) const { return *buffers_[static_cast<size_t>(index)]; }

    // The next step: `rows` tokens from this place of the context on, or, of a step that decodes
    // for several sequences, one at this place of each.
    void set_step(int64_t position, std::span<const int32_t> tokens);
    // The step that ends at the end of the context.
    void set_last_step();
    // The last row's logits behind running all of `tokens` from an empty context, in full steps. A
    // step that decodes for several sequences runs the same tokens for each.
    std::vector<float> logits_of(std::span<const int32_t> tokens);

  private:
    Device& device_;
    BenchMemory& memory_;
    std::vector<std::unique_ptr<Buffer>> own_;
    std::vector<Buffer*> buffers_;
    std::unique_ptr<BoundPlan> bound_;
};

// Tokens that are no text; the time of a step does not depend on them.
std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary);

}  // namespace hetune
