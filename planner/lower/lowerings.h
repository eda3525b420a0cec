// The lowerings of each operation, of which the first that fits is taken: those that are faster
// where they fit stand before. A kind without a list does not compile (PlanBuilder::lower_op).
#pragma once

#include <string>
#include <vector>

#include "planner/fusion/fused_ops.h"
#include "planner/lower/lowering.h"

namespace hetune {

Lowerings<ops::Embed> lowerings(const ops::Embed&);
Lowerings<ops::RmsNorm> lowerings(const ops::RmsNorm&);
Lowerings<ops::Linear> lowerings(const ops::Linear&);
Lowerings<ops::Scale> lowerings(const ops::Scale&);
Lowerings<ops::Add> lowerings(const ops::Add&);
Lowerings<ops::SiluMul> lowerings(const ops::SiluMul&);
Lowerings<ops::SigmoidMul> lowerings(const ops::SigmoidMul&);
Lowerings<ops::ScaleBySigmoid> lowerings(const ops::ScaleBySigmoid&);
Lowerings<ops::HeadRmsNorm> lowerings(const ops::HeadRmsNorm&);
Lowerings<ops::Rope> lowerings(const ops::Rope&);
Lowerings<ops::SplitHeads> lowerings(const ops::SplitHeads&);
Lowerings<ops::Attention> lowerings(const ops::Attention&);
Lowerings<ops::CausalConv> lowerings(const ops::CausalConv&);
Lowerings<ops::DeltaNet> lowerings(const ops::DeltaNet&);
Lowerings<ops::GatedRmsNorm> lowerings(const ops::GatedRmsNorm&);
Lowerings<ops::Router> lowerings(const ops::Router&);
Lowerings<ops::ScaleShares> lowerings(const ops::ScaleShares&);
Lowerings<ops::Experts> lowerings(const ops::Experts&);
Lowerings<ops::LastRow> lowerings(const ops::LastRow&);

Lowerings<ops::EmbedNorm> lowerings(const ops::EmbedNorm&);
Lowerings<ops::LinearFan> lowerings(const ops::LinearFan&);
Lowerings<ops::Swiglu> lowerings(const ops::Swiglu&);
Lowerings<ops::LinearAdd> lowerings(const ops::LinearAdd&);
Lowerings<ops::LinearAddNorm> lowerings(const ops::LinearAddNorm&);
Lowerings<ops::AttentionStep> lowerings(const ops::AttentionStep&);
Lowerings<ops::DeltaStep> lowerings(const ops::DeltaStep&);
Lowerings<ops::MoeStep> lowerings(const ops::MoeStep&);

// The name of a lowering in PlanOptions::without: "experts/grouped".
std::string lowering_name(std::string_view kind, std::string_view variant);
// The names of all lowerings of operations that have several.
std::vector<std::string> lowerings_with_another();

}  // namespace hetune
