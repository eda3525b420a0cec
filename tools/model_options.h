// Options that all commands share which load a model, and the progress bar while it loads.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "planner/graph/layer_graph.h"
#include "runtime/api/hetune.h"

namespace hetune {

struct ModelArguments {
    std::string file;
    std::string fusion = "on";
    std::string activations = "q8";
    std::string memory_limit, prompt_cache_size;
    bool quiet = false;  // no progress
    ModelOptions options;

    // FILE, --backend, --device, --compiler, --ctx, --fusion, --activations, --kv,
    // --state-snapshots, --no-prefix-cache, --exact-prefix, --state-checkpoints,
    // --prompt-cache, --prompt-cache-size, --pre,
    // --allow-unused, --no-tiles, --memory-limit, --jobs, --threads, --certify,
    // --retry, --any-compiler-build, --no-jit.
    void add_to(CLI::App& app);
    // --chat-template, for commands that hold conversations.
    void add_chat_template(CLI::App& app);
    // Loads it, with a progress bar on stderr and warnings below it.
    Model load() { return Model(load_host()); }
    // The same, for commands that look inside.
    std::shared_ptr<ModelHost> load_host();
};

// Warns where ChatML stands in for a chat template.
void warn_without_template(const Model& model);

// --allow-unused, for commands that plan with a file and do not load it.
void add_allow_unused(CLI::App& app, bool& allow);

// Throws ModelError where the file has tensors or settings that nothing reads; with `allow` prints
// the same as a warning. Kernels of such a file would compute another model.
void check_all_used(const ModelFile& file, const LayerGraph& graph, bool allow);

// "x86-64-v3 (cpu: AMD EPYC …), compiler clang": one line about what was chosen.
std::string device_line(const ModelInfo& info);

}  // namespace hetune
