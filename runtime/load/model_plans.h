// Which plans a loaded model has, and so which kernels and weights it needs: asked by LoadedModel
// and, without a device, by `hetune prewarm`.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "planner/plan/plan.h"

namespace hetune {

// Tokens of context unless more are asked for: a cache of the trained context may not fit.
constexpr int64_t kDefaultContext = 4096;

// The start that a sequence takes over of others with the same first tokens, instead of computing
// it.
enum class Prefixes {
    kNone,   // nothing
    kExact,  // what equals, bit for bit, what it would compute
    kAll,    // also what was made by decoding, or in other steps, which differs by rounding
};

struct LoadOptions {
    int64_t context = kDefaultContext;  // capacity in tokens
    int sequences = 1;                  // that have memory for a context at the same time
    int prefill_rows = 0;               // tokens of one prefill step; 0: Arch::prefill_rows
    bool fusion = true;
    Activations activations = Activations::kQuantised;
    KvType kv = KvType::kF16;
    int state_snapshots = 4;  // copies of the recurrent state (state_snapshots.h)
    Prefixes prefixes = Prefixes::kAll;
    int state_checkpoints = -1;      // copies of it for prefixes; -1: 2 for each sequence, and 2
    double burst_seconds = 0.05;     // that tokens launched at the same time may take together
    std::optional<bool> loops = {};  // bursts as loops, on a device that can; default: as Arch says
    bool all_logits = false;         // sequences have tokens on Path::kEachLogits
    bool hidden_states = false;      // and on Path::kEachHidden
    std::optional<bool> matrix =
        {};                    // prefill on the matrix units; default: where the arch has any
    int64_t memory_limit = 0;  // bytes; 0: what the device has free
    std::map<std::string, std::map<std::string, std::string>> tunables;
    Tunings tunings;
    std::map<std::string, std::string> refused;  // PlanOptions::refused
};

// LoadOptions::state_checkpoints as they are taken.
int state_checkpoints(const LoadOptions& options);

// The purpose of a step. There are few kinds; each has a plan, kernels and a graph of its own.
struct StepKind {
    int rows = 1;       // tokens, at most
    int sequences = 1;  // whose tokens they are
    StepOutput output = StepOutput::kLogits;
    bool operator==(const StepKind&) const = default;
};

struct ModelPlans {
    // Plans of the kinds that step_kinds() lists, in the same order.
    std::vector<Plan> steps;
    std::vector<Plan> samplers;  // of the kinds of decode_steps(), in the same order

    // Each once, in the order of KernelSpec.
    std::vector<KernelSpec> kernels() const;
    // Throws std::out_of_range where the model has no steps of this kind.
    const Plan& of(const StepKind& kind) const;
    // Buffers of all steps, each once, sorted by name.
    std::vector<PlanBuffer> buffers() const;
};

// One token of an answer.
constexpr StepKind kDecodeStep = {};
// One token of each of several answers, for so many sequences at the same time: of 1, 2, 4 ...
// rows, of which each step takes the smallest that holds its sequences.
constexpr int kMostSequences = 64;
std::vector<StepKind> decode_steps(const LoadOptions& options);
// That of exactly so many rows; empty where there is none, as for 3.
std::optional<StepKind> decode_step(int rows);
// The options of a plan for steps of this kind.
PlanOptions with_kind(PlanOptions options, const StepKind& kind);
// Tokens of a prompt.
StepKind prefill_step(const LoadOptions& options, const Arch& arch);
// The same with the logits of each: no more than make a buffer of reasonable size.
StepKind logits_step(const LoadOptions& options, const Arch& arch);
// The same with the hidden states of each token.
StepKind hidden_step(const LoadOptions& options, const Arch& arch);
// Whether the rows of a decode step's plan may be of several sequences: it has no kernel that takes
// its rows as those of one.
bool serves_many(const Plan& plan);
// Kinds of step of a model that is loaded with these options.
std::vector<StepKind> step_kinds(const LoadOptions& options, const Arch& arch);

// `file` may be open for its header only. Throws ModelError, as make_plan does.
ModelPlans model_plans(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                       const LoadOptions& options);

Plan step_plan(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
               const LoadOptions& options, const StepKind& kind);

// All kernels that loads with any of these options need, whether or not they are fused and ask
// for the logits of each row (the two options that are not looked at). In the order of KernelSpec.
std::vector<KernelSpec> kernels_of_loads(const ModelFile& file, const Arch& arch,
                                         std::span<const LoadOptions> loads);

}  // namespace hetune
