// How one model runs on one arch, for one number of rows: kernels in order, with their constants,
// arguments and launch shapes, and every byte they touch. A plain value: it prints
// (plan_text.h), compares equal for equal inputs, and needs no GPU and no weights to be made.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernel_templates/spec.h"
#include "planner/graph/layer_graph.h"
#include "planner/plan/arch.h"
#include "planner/plan/kv_type.h"
#include "planner/plan/tunings.h"

namespace hetune {

enum class Activations { kQuantised, kFloat };        // what integer weights are multiplied with
std::string_view to_string(Activations activations);  // "q8", "f32"

// The output of a step, besides keys, values and states.
enum class StepOutput {
    kLogits,      // [vocabulary] of the last row
    kEachLogits,  // [rows, vocabulary]
    kEachHidden,  // [rows, hidden] that logits would be made of: LayerGraph::hidden_states
};

// Below, a product is bound by its weights, which the other kernels read as fast.
constexpr int kMatrixRows = 32;

struct PlanOptions {
    int rows = 1;        // tokens of one step
    int sequences = 1;   // whose tokens they are
    bool fusion = true;  // false: the chain of primitives
    Activations activations = Activations::kQuantised;
    KvType kv = KvType::kF16;
    StepOutput output = StepOutput::kLogits;
    bool matrix = false;  // products of many rows on the matrix units, see by_matrix()
    // Tunables that replace the default of every step they are valid for, by template:
    // {"gemv", {{"kWaves", "4"}}}.
    std::map<std::string, std::map<std::string, std::string>> tunables;
    Tunings tunings;  // by shape; what `tunables` says comes first
    // Fusion rules and lowerings ("experts/grouped") that are not used where there is another way.
    std::set<std::string> without;
    // Kernels that must not be used, by KernelSpec::to_string, and why: the next variant is taken
    // (fewer waves, another lowering, the unfused chain).
    std::map<std::string, std::string> refused;

    bool each_row() const { return output != StepOutput::kLogits; }
    // Whether each row is the next token of a sequence of its own, rather than some of a prompt.
    bool decodes() const { return rows == sequences; }
    // Whether the plan works with halves on the matrix units: in prefill, where 8-bit activations
    // would do as well.
    bool by_matrix() const {
        return matrix && !decodes() && rows >= kMatrixRows &&
               activations == Activations::kQuantised;
    }
    bool operator==(const PlanOptions&) const = default;
};

enum class BufferRole {
    kTiles,     // a weight matrix in tiles of its quantisation
    kRaw,       // a float vector as in the file
    kTurns,     // LayerGraph::rope_turns as pairs of floats
    kKv,        // grows with the context, by whole pages
    kPages,     // which pages the slots have
    kState,     // recurrent state of one slot
    kScratch,   // the arena that values share
    kStep,      // StepState and its rows
    kTokens,    // int32 [rows]
    kLogits,    // float [rows or 1, vocabulary], or the hidden states: StepOutput
    kSampler,   // SamplerState; the ring of drawn tokens
    kCounters,  // zero between launches
};

std::string_view to_string(BufferRole role);

struct PlanBuffer {
    std::string name;
    BufferRole role = BufferRole::kScratch;
    int64_t bytes = 0;
    int64_t bytes_per_context = 0;  // per token of context capacity, on top
    std::string tensor;             // kTiles, kRaw: which
    bool operator==(const PlanBuffer&) const = default;
};

struct PlanArg {
    int buffer = 0;
    int64_t offset = 0;
    int64_t bytes = 0;  // of scratch and logits: how much is behind the offset; 0: the whole buffer
    bool operator==(const PlanArg&) const = default;
};

// What a step costs at full rows and an empty context; per context token on top.
struct StepCost {
    int64_t weight_bytes = 0;
    int64_t activation_bytes = 0;
    int64_t kv_bytes_per_context = 0;
    int64_t operations = 0;  // multiply and add are two
    int64_t operations_per_context = 0;
    bool operator==(const StepCost&) const = default;
};

// A value of the layer graph, float [rows, width], that is complete once a step has run.
struct StepValue {
    std::string name;
    int arg = 0;  // where it is: an index into PlanStep::args
    int64_t width = 0;
    bool operator==(const StepValue&) const = default;
};

struct PlanStep {
    std::string label;  // "blk.3.attn_q"
    int kernel = 0;     // an index into Plan::kernels
    std::vector<PlanArg> args;
    std::vector<StepValue> values = {};  // those in float; fused and quantised ones are missing
    uint32_t groups[3] = {1, 1, 1};      // at full rows
    uint32_t threads = 32;
    int rows_axis = -1;  // groups[rows_axis] = ceil(rows / rows_per_group); -1: fixed
    int rows_per_group = 1;
    StepCost cost;
    int op = -1;  // of the fused graph, by index: steps of one op stand together
    bool operator==(const PlanStep&) const = default;
};

struct Plan {
    std::string model;
    std::string architecture;
    std::string arch;
    PlanOptions options;
    std::vector<PlanBuffer> buffers;
    std::vector<KernelSpec> kernels;  // each once, in order of first use
    std::vector<PlanStep> steps;
    int step_buffer = -1, last_step_buffer = -1, tokens_buffer = -1, logits_buffer = -1;
    int64_t vocabulary = 0;
    std::vector<std::string> notes;  // what was left out, and which fusions were applied
    std::vector<std::string> tuned;  // kernels and choices that come from PlanOptions::tunings

    bool operator==(const Plan&) const = default;
    const KernelSpec& spec(const PlanStep& step) const {
        return kernels[static_cast<size_t>(step.kernel)];
    }
    // The index of a kernel, which is added where the plan does not have it yet.
    int add_kernel(const KernelSpec& spec);
    // The first step that runs a kernel of the plan.
    const PlanStep& first_use(int kernel) const;
    // The rows of a step of several sequences at which one of them may begin: each multiple of
    // this, so that no group has rows of two sequences where its kernel cannot tell them apart.
    int64_t row_alignment() const;
    // The first step behind all rows: it and the later ones make the output of the wanted row. All
    // steps where a plan makes each row's.
    size_t output_step() const;
    // Bytes of all buffers of these roles at a context capacity.
    int64_t bytes(BufferRole role, int64_t context) const;
};

}  // namespace hetune
