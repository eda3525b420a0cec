// A model as primitive operations over named values: what is computed, not how. Built from a
// model file by the plug-in of its architecture (planner/graph/models/<arch>.cc); read by the
// oracle, which runs it as it stands, and by the planner, which fuses it and picks kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "planner/file/model_file.h"
#include "planner/graph/ops.h"

namespace hetune {

// Activations, float [rows, width]; rows are the tokens of one step.
struct Value {
    std::string name;  // "blk.3.attn_norm"
    int64_t width = 0;
    int layer = -1;  // -1: outside the layers

    bool operator==(const Value&) const = default;
};

struct LayerGraph {
    std::string architecture;  // "qwen3"
    std::string name;          // general.name of the file
    int layers = 0;
    int64_t hidden = 0;
    int64_t vocabulary = 0;
    int64_t trained_context = 0;
    // Turns per position of each rotary pair, after the file's rope scaling: freq / (2 pi), in
    // double so that kernels can split it into two floats. Cosine and sine are also scaled by
    // rope_magnitude (YaRN's attention factor).
    std::vector<double> rope_turns;
    double rope_magnitude = 1.0;
    std::string rope_divisors;  // the tensor that rope_turns were divided by; "": none

    std::vector<Value> values;
    std::vector<PrimitiveOp> ops;    // in order of execution
    ValueId logits = -1;             // [rows, vocabulary], of the last op
    ValueId hidden_states = -1;      // [rows, hidden], normalised: input of the last op
    std::vector<std::string> notes;  // what of the file is left out, one line each
    std::vector<std::string>
        unused;  // what of the file no op reads and is not known to be harmless

    ValueId add_value(Value value);
    // Appends an op whose one output is a new value, and returns the value.
    template <class T>
    ValueId add(T op, Value output) {
        const ValueId y = add_value(std::move(output));
        op.y = y;
        ops.push_back(std::move(op));
        return y;
    }
    template <class T>
    int count() const {
        return static_cast<int>(std::ranges::count_if(
            ops, [](const PrimitiveOp& op) { return std::holds_alternative<T>(op); }));
    }
    bool operator==(const LayerGraph&) const = default;
};

// Throws ModelError that says what the file is, where it is no model of a known architecture:
// before anything else of the file is looked at, such as its tokenizer.
void require_language_model(const ModelFile& file);

// Reads the header of the file only, and the divisors of rope. Throws ModelError: not a language
// model (says what it is), unknown architecture (lists the known ones), a missing or misshapen
// tensor, a hyper-parameter out of range. Does not throw for LayerGraph::unused: whoever
// offers to go on without calls require_all_used.
LayerGraph build_layer_graph(const ModelFile& file);

// Throws ModelError with the names of LayerGraph::unused, where there are any; with `allow` gives
// the line as a warning instead ("": nothing is unused).
std::string require_all_used(const ModelFile& file, const LayerGraph& graph, bool allow);

// A model plug-in: one file in planner/graph/models, one object of this type in it.
struct RegisterModel {
    RegisterModel(std::string architecture, std::function<LayerGraph(const ModelFile&)> build);
};
std::vector<std::string> known_architectures();

}  // namespace hetune
