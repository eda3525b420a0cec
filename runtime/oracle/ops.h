// The oracle's way of each primitive operation. A kind without one does not compile
// (ReferenceEngine::run_to).
#pragma once

#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "planner/graph/layer_graph.h"
#include "planner/plan/kv_type.h"

namespace hetune {

// Where the oracle rounds as kernels do, so that a distance to it is a fault and no rounding.
struct OracleRounding {
    // Inputs of products with integer formats to 8 bits, in blocks of 32 with one scale (XBlock).
    bool activations = false;
    // Names of the weights whose products take halves on matrix units: their inputs stay unrounded.
    std::set<std::string> halves = {};
    KvType kv = KvType::kF32;  // keys and values as the KV cache holds them
};

// An operation's view of the engine: one step of some tokens.
struct OracleStep {
    const ModelFile& file;
    const LayerGraph& graph;
    std::span<const int32_t> tokens;
    int64_t position;  // of the first row
    std::vector<std::vector<float>>& values;
    // Kept between steps: KV caches, recurrent states.
    std::map<std::string, std::vector<float>>& state;
    const OracleRounding& rounding;

    int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
    int64_t width(ValueId id) const { return graph.values[static_cast<size_t>(id)].width; }
    std::span<const float> in(ValueId id) const { return values[static_cast<size_t>(id)]; }
    std::span<float> out(ValueId id) const;  // resized to [rows, width]
    const Tensor& weight(const ops::Weight& weight) const { return file.tensor(weight.name); }
    // `x` as a product with all of these weights reads it.
    std::vector<float> factor(std::span<const float> x,
                              std::initializer_list<ops::Weight> weights) const;
};

void run(const ops::Embed& op, const OracleStep& s);
void run(const ops::RmsNorm& op, const OracleStep& s);
void run(const ops::Linear& op, const OracleStep& s);
void run(const ops::Scale& op, const OracleStep& s);
void run(const ops::Add& op, const OracleStep& s);
void run(const ops::SiluMul& op, const OracleStep& s);
void run(const ops::SigmoidMul& op, const OracleStep& s);
void run(const ops::ScaleBySigmoid& op, const OracleStep& s);
void run(const ops::HeadRmsNorm& op, const OracleStep& s);
void run(const ops::Rope& op, const OracleStep& s);
void run(const ops::SplitHeads& op, const OracleStep& s);
void run(const ops::Attention& op, const OracleStep& s);
void run(const ops::CausalConv& op, const OracleStep& s);
void run(const ops::DeltaNet& op, const OracleStep& s);
void run(const ops::GatedRmsNorm& op, const OracleStep& s);
void run(const ops::Router& op, const OracleStep& s);
void run(const ops::ScaleShares& op, const OracleStep& s);
void run(const ops::Experts& op, const OracleStep& s);
void run(const ops::LastRow& op, const OracleStep& s);

}  // namespace hetune
