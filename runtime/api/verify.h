// The compiled model against the oracle, on the same tokens: how far the logits are apart, and
// where the distance comes from.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runtime/api/model_host.h"
#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"

namespace hetune {

// How far a value of the layer graph is off: max |a - b| / max |b| over all rows, b the oracle's.
// Errors of earlier layers are part of it, for both sides start from the tokens alone.
struct ValueError {
    std::string name;
    int layer = -1;  // -1: embedding and output
    double relative = 0;

    bool operator==(const ValueError&) const = default;
};

struct ModelComparison {
    LogitsDistance logits;
    // Of every value that both sides keep in float (fusion leaves fewer of them), in order.
    std::vector<ValueError> values;
    std::vector<float> model_logits = {};  // [rows, vocabulary]
};

// Weights that a plan multiplies with halves, by their tensors' names.
std::set<std::string> products_of_halves(const Plan& plan);

// On sequences of their own. The model is a compiled one, made with ModelOptions::all_logits.
// Throws NumberError where logits of either side are NaN or infinite.
ModelComparison verify(ModelHost& model, ReferenceEngine& oracle, std::span<const int32_t> tokens);

// The worst value of each layer, in order of layers, -1 first.
std::vector<ValueError> worst_of_layers(std::span<const ValueError> values);

}  // namespace hetune
