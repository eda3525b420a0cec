// What the lowerings of sorted experts share.
#pragma once

#include "planner/lower/plan_builder.h"

namespace hetune {

// Whether products with the gate have a factor for each expert. Only the kernels that take each
// token by itself multiply by it: no file of these families has had one so far.
inline bool has_gate_scale(const Op& experts) { return experts.weights.size() > 3; }

constexpr int64_t kExpertChunkBytes = 12;  // kernel_templates' ExpertChunk

// The slots of an `experts` op by expert, in `chunks` pieces of up to `tokens` slots.
void emit_expert_groups(PlanBuilder& b, const Op& op, int tokens, int64_t chunks, PlanArg order,
                        PlanArg pieces);

// The op's output from `parts`, float [slots, width].
void emit_experts_sum(PlanBuilder& b, const Op& op, PlanArg parts);

}  // namespace hetune
