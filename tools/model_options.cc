#include "tools/model_options.h"

#include <fmt/format.h>

#include "cache/options.h"
#include "planner/kv_type.h"
#include "tools/progress.h"

namespace hetune {

void ModelArguments::add_to(CLI::App& app) {
    app.add_option("FILE", file, "GGUF model; of a split one any part")->required();
    app.add_option("--backend", options.backend,
                   "hip, cuda, cpu or reference; default: the best there is");
    app.add_option("--compiler", options.compiler,
                   "hiprtc, comgr, clang or nvrtc; default: the best there is");
    app.add_option("-c,--ctx", options.context,
                   "context in tokens; default: the model's, at most 4096")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
    app.add_option("--prefill-rows", options.prefill_rows,
                   "tokens of one prefill step; default: 64, on matrix units 512 or 1024")
        ->check(CLI::Range(1, 4096));
    app.add_option("--fusion", fusion, "on, or off: one kernel per primitive operation")
        ->check(CLI::IsMember({"on", "off"}))
        ->capture_default_str();
    app.add_option("--activations", activations, "q8: 8-bit dot products, or f32")
        ->check(CLI::IsMember({"q8", "f32"}))
        ->capture_default_str();
    app.add_option("--kv", options.kv_type, "type of the KV cache: f16, bf16, f32 or q8")
        ->check(CLI::IsMember(kv_type_names()))
        ->capture_default_str();
    app.add_option("--state-snapshots", options.state_snapshots,
                   "recurrent states to keep, so that the context can be cut back; 0: none")
        ->check(CLI::Range(0, 1024))
        ->capture_default_str();
    app.add_option("--pre", options.pre_tokenizer,
                   "pre-tokenizer, instead of the file's: qwen2, llama-bpe, ...");
    app.add_flag("--allow-unused", options.allow_unused,
                 "go on where the file has tensors or settings that nothing reads");
    app.add_flag("!--no-tiles", options.tiles, "do not keep repacked weights on disk");
    app.add_option("--memory-limit", memory_limit,
                   "most memory to take, as 8G; default: what is free");
    app.add_option("-j,--jobs", options.jobs, "compilers at once; default: one per core")
        ->check(CLI::Range(1, 1024));
    app.add_option("--certify", options.certify,
                   "try kernels out against the oracle before their first use: off, once or always")
        ->check(CLI::IsMember({"off", "once", "always"}))
        ->capture_default_str();
    app.add_flag("--retry", options.retry,
                 "try again the kernels that were refused at an earlier load");
    app.add_flag("--no-jit", options.no_jit,
                 "compile nothing; list the kernels that are missing and fail");
}

Model ModelArguments::load() {
    options.fusion = fusion == "on";
    options.float_activations = activations == "f32";
    if (!memory_limit.empty()) {
        const auto bytes = parse_size(memory_limit);
        if (!bytes || *bytes == 0)
            throw std::runtime_error(
                fmt::format("--memory-limit '{}' is no size; write 8G or 512M", memory_limit));
        options.memory_limit = static_cast<int64_t>(*bytes);
    }
    Progress progress;
    options.progress = [&](std::string_view stage, size_t done, size_t total) {
        progress.update(stage, done, total);
    };
    options.warn = [&](const std::string& line) { progress.say("hetune: warning: " + line); };
    Model model(file, options);
    return model;
}

std::string device_line(const ModelInfo& info) {
    if (info.backend == "reference") return "the reference backend: plain C++ in float32";
    return fmt::format("{} ({}: {}), kernels by {}", info.arch, info.backend, info.device,
                       info.compiler.substr(0, info.compiler.find(' ')));
}

}  // namespace hetune
