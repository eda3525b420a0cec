// What the lowerings of sorted experts share.
#pragma once

#include "planner/lower/plan_builder.h"

namespace hetune {

constexpr int64_t kExpertChunkBytes = 12;  // kernel_templates' ExpertChunk

// The slots of `op` by expert, in `chunks` pieces of up to `tokens` slots.
void emit_expert_groups(PlanBuilder& b, const ops::Experts& op, int tokens, int64_t chunks,
                        PlanArg order, PlanArg pieces);

// The op's output from `parts`, float [slots, width].
void emit_experts_sum(PlanBuilder& b, const ops::Experts& op, PlanArg parts);

}  // namespace hetune
