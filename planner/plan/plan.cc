#include "planner/plan/plan.h"

#include <algorithm>
#include <numeric>

#include "kernel_templates/catalogue.h"

namespace hetune {

std::string_view to_string(Activations activations) {
    return activations == Activations::kQuantised ? "q8" : "f32";
}

std::string_view to_string(BufferRole role) {
    constexpr std::string_view kNames[] = {"tiles",  "raw",    "rope",    "kv",
                                           "pages",  "state",  "scratch", "step",
                                           "tokens", "logits", "sampler", "counters"};
    return kNames[static_cast<size_t>(role)];
}

int Plan::add_kernel(const KernelSpec& spec) {
    const auto known = std::ranges::find(kernels, spec);
    const auto index = static_cast<int>(known - kernels.begin());
    if (known == kernels.end()) kernels.push_back(spec);
    return index;
}

const PlanStep& Plan::first_use(int kernel) const {
    return *std::ranges::find(steps, kernel, &PlanStep::kernel);
}

int64_t Plan::row_alignment() const {
    int64_t alignment = 1;
    for (const PlanStep& step : steps)
        if (step.rows_axis >= 0 && find_template(spec(step).name)->one_sequence)
            alignment = std::lcm(alignment, int64_t{step.rows_per_group});
    return alignment;
}

size_t Plan::output_step() const {
    const auto takes_row = [&](const PlanStep& step) {
        return std::ranges::any_of(step.args, [&](const PlanArg& arg) {
            return last_step_buffer >= 0 && arg.buffer == last_step_buffer;
        });
    };
    return static_cast<size_t>(std::ranges::find_if(steps, takes_row) - steps.begin());
}

int64_t Plan::bytes(BufferRole role, int64_t context) const {
    int64_t sum = 0;
    for (const PlanBuffer& buffer : buffers)
        if (buffer.role == role) sum += buffer.bytes + buffer.bytes_per_context * context;
    return sum;
}

}  // namespace hetune
