// Which plans a session runs, and so which kernels and weights it needs: asked by the session
// itself and, without a device, by `hetune prewarm`.
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

struct SessionOptions {
    int64_t context = kDefaultContext;  // capacity in tokens
    int prefill_rows = 0;               // tokens of one prefill step; 0: Arch::prefill_rows
    bool fusion = true;
    Activations activations = Activations::kQuantised;
    KvType kv = KvType::kF16;
    int state_snapshots = 4;         // copies of the recurrent state (state_snapshots.h)
    double burst_seconds = 0.05;     // that tokens launched at the same time may take together
    std::optional<bool> loops = {};  // bursts as loops, on a device that can; default: as Arch says
    bool all_logits = false;         // forward(…, every_row) will be called
    std::optional<bool> matrix =
        {};                    // prefill on the matrix units; default: where the arch has any
    int64_t memory_limit = 0;  // bytes; 0: what the device has free
    std::map<std::string, std::map<std::string, std::string>> tunables;
    Tunings tunings;
    std::map<std::string, std::string> refused;  // PlanOptions::refused
};

struct SessionPlans {
    std::vector<Plan>
        steps;  // decode; prefill; with all_logits, prefill with the logits of each row
    Plan sampler;

    // Each once, in the order of KernelSpec.
    std::vector<KernelSpec> kernels() const;
    // Of the steps, each once, sorted by name.
    std::vector<PlanBuffer> buffers() const;
};

int prefill_rows(const SessionOptions& options, const Arch& arch);
// Rows of a step that gives the logits of each: no more than make a buffer of reasonable size.
int logits_rows(const SessionOptions& options, const Arch& arch);

// `file` may be open for its header only. Throws ModelError, as make_plan does.
SessionPlans session_plans(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                           const SessionOptions& options);

// One of the steps; `rows` 1 decodes.
Plan session_step(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                  const SessionOptions& options, int rows, bool all_logits);

// All kernels that sessions with any of these options need, whether or not they are fused and ask
// for the logits of each row (the two options that are not looked at). In the order of KernelSpec.
std::vector<KernelSpec> kernels_of_sessions(const ModelFile& file, const Arch& arch,
                                            std::span<const SessionOptions> sessions);

}  // namespace hetune
