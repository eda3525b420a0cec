// How kernels are tried out: a function for each template. An operation lists those of the kernels
// that its lowerings (planner/lower/lowerings.h) launch; a kind without a list does not compile
// (find_certifier). A kernel that no list has is never launched by a model whose kernels are
// certified.
#pragma once

#include <span>
#include <string_view>

#include "planner/fusion/fused_ops.h"

namespace hetune {

class Trial;

struct Certifier {
    std::string_view kernel;  // the template
    // Puts inputs into the trial, launches, and compares results with the oracle's.
    void (*run)(Trial&);
    // Raised when the certifier finds more than before: kernels are tried again.
    int version = 1;
};
using Certifiers = std::span<const Certifier>;

Certifiers certifiers(const ops::Embed&);
Certifiers certifiers(const ops::RmsNorm&);
Certifiers certifiers(const ops::Linear&);
Certifiers certifiers(const ops::Scale&);
Certifiers certifiers(const ops::Add&);
Certifiers certifiers(const ops::SiluMul&);
Certifiers certifiers(const ops::SigmoidMul&);
Certifiers certifiers(const ops::ScaleBySigmoid&);
Certifiers certifiers(const ops::HeadRmsNorm&);
Certifiers certifiers(const ops::Rope&);
Certifiers certifiers(const ops::SplitHeads&);
Certifiers certifiers(const ops::Attention&);
Certifiers certifiers(const ops::CausalConv&);
Certifiers certifiers(const ops::DeltaNet&);
Certifiers certifiers(const ops::GatedRmsNorm&);
Certifiers certifiers(const ops::Router&);
Certifiers certifiers(const ops::ScaleShares&);
Certifiers certifiers(const ops::Experts&);
Certifiers certifiers(const ops::LastRow&);

Certifiers certifiers(const ops::EmbedNorm&);
Certifiers certifiers(const ops::LinearFan&);
Certifiers certifiers(const ops::Swiglu&);
Certifiers certifiers(const ops::LinearAdd&);
Certifiers certifiers(const ops::LinearAddNorm&);
Certifiers certifiers(const ops::AttentionStep&);
Certifiers certifiers(const ops::DeltaStep&);
Certifiers certifiers(const ops::MoeStep&);

// Certifiers of kernels that belong to no operation: kernels that give a value another form
// (PlanBuilder::in), and those of the sampler's plan.
Certifiers form_certifiers();
Certifiers sampler_certifiers();

// Kernels that several operations launch, or whose operation is listed in another file.
extern const Certifier kBinaryCertifier, kHeadNormRopeCertifier, kGemvCertifier, kGemmCertifier,
    kGemmSwigluCertifier, kHalfRowsCertifier;
extern const Certifier kDeltaNetPrepareCertifier, kDeltaNetChunkCertifier, kDeltaNetMatrixCertifier;

// nullptr when there is none.
const Certifier* find_certifier(std::string_view kernel);

}  // namespace hetune
