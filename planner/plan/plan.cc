#include "planner/plan/plan.h"

#include <set>

namespace hetune {

std::string_view to_string(Activations activations) {
    return activations == Activations::kQuantised ? "q8" : "f32";
}

std::string_view to_string(BufferRole role) {
    constexpr std::string_view kNames[] = {"tiles",  "raw",     "rope",    "kv",
                                           "state",  "scratch", "step",    "tokens",
                                           "logits", "sampler", "counters"};
    return kNames[static_cast<size_t>(role)];
}

std::vector<KernelSpec> Plan::kernels() const {
    std::vector<KernelSpec> distinct;
    std::set<std::string> seen;
    for (const PlanStep& step : steps)
        if (seen.insert(step.spec.to_string()).second) distinct.push_back(step.spec);
    return distinct;
}

int64_t Plan::bytes(BufferRole role, int64_t context) const {
    int64_t sum = 0;
    for (const PlanBuffer& buffer : buffers)
        if (buffer.role == role) sum += buffer.bytes + buffer.bytes_per_context * context;
    return sum;
}

}  // namespace hetune
