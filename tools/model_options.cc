#include "tools/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cache/options.h"
#include "planner/plan/kv_type.h"
#include "runtime/api/model_host.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/pre_tokenizer.h"
#include "tools/option_names.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/terminal.h"

namespace hetune {

void ModelArguments::add_to(CLI::App& app) {
    app.add_option("FILE", file, "GGUF model; of a split one any part")
        ->check(not_empty())
        ->required();
    app.add_option("--backend", options.backend,
                   "hip, cuda, cpu or reference; default: that of the best GPU")
        ->check(backend_option());
    app.add_option("--device", options.device,
                   "index of a GPU in `hetune devices`; default: the best one")
        ->check(whole_number(0, 1 << 30));
    app.add_option("--compiler", options.compiler,
                   "hiprtc, comgr, clang or nvrtc; default: the best there is")
        ->check(compiler_option());
    app.add_option("-c,--ctx", options.context,
                   "context in tokens; default: the model's, at most 4096")
        ->check(whole_number(1, 1 << 30));
    app.add_option("--prefill-rows", options.prefill_rows,
                   "tokens of one prefill step; default: 64, on matrix units 512 or 1024")
        ->check(whole_number(1, 4096));
    app.add_option("--fusion", fusion, "on, or off: one kernel per primitive operation")
        ->check(one_of({"on", "off"}))
        ->capture_default_str();
    app.add_option("--activations", activations, "q8: 8-bit dot products, or f32")
        ->check(one_of({"q8", "f32"}))
        ->capture_default_str();
    app.add_option("--kv", options.kv_type, "type of the KV cache: f16, bf16, f32 or q8")
        ->check(one_of(kv_type_names()))
        ->capture_default_str();
    app.add_option("--state-snapshots", options.state_snapshots,
                   "recurrent states to keep, so that the context can be cut back; 0: none")
        ->check(whole_number(0, 1024))
        ->capture_default_str();
    app.add_flag("!--no-prefix-cache", options.prefix_cache,
                 "compute every prompt as a whole, whatever others began with");
    app.add_flag("--exact-prefix", options.exact_prefix,
                 "take over of other prompts only what is equal bit for bit");
    app.add_option("--state-checkpoints", options.state_checkpoints,
                   "recurrent states to keep for prompts that begin alike; default: 2 for each "
                   "sequence, and 2")
        ->check(whole_number(0, 1024));
    auto* const folder = app.add_option("--prompt-cache", options.prompt_cache,
                                        "folder that keeps computed prompts for later runs")
                             ->check(not_empty());
    app.add_option("--prompt-cache-size", prompt_cache_size,
                   "most bytes of that folder, as 20G; default: 10G")
        ->check(size_option())
        ->needs(folder);
    app.add_option("--pre", options.pre_tokenizer,
                   "pre-tokenizer, instead of the file's: qwen2, llama-bpe, ...")
        ->check(one_of(pre_tokenizer_names()));
    add_allow_unused(app, options.allow_unused);
    app.add_flag("!--no-tiles", options.tiles, "do not keep repacked weights on disk");
    app.add_option("--memory-limit", memory_limit,
                   "most memory to take, as 8G; default: what is free")
        ->check(size_option());
    app.add_option("-j,--jobs", options.jobs, "compilers at once; default: one per core")
        ->check(whole_number(1, 1024));
    app.add_option("-t,--threads", options.threads,
                   "threads of the CPU's kernels; default: one per core")
        ->check(whole_number(1, 1024));
    app.add_option("--certify", options.certify,
                   "try kernels out against the oracle before their first use: off, once or always")
        ->check(one_of({"off", "once", "always"}))
        ->capture_default_str();
    app.add_flag("--retry", options.retry,
                 "try again the kernels that were refused at an earlier load");
    app.add_flag("--any-compiler-build", options.any_compiler_build,
                 "use kernels of another build of the compiler, from bundles that a key of "
                 "HETUNE_TRUSTED_KEYS signed");
    app.add_flag("--no-jit", options.no_jit,
                 "compile nothing; list the kernels that are missing and fail");
}

void ModelArguments::add_chat_template(CLI::App& app) {
    app.add_option("--chat-template", options.chat_template,
                   "chat template, instead of the file's: a Jinja file, or one of " +
                       fmt::format("{}", fmt::join(template_names(), ", ")))
        ->check(not_empty());
}

void warn_without_template(const Model& model) {
    if (!model.has_chat_template())
        tell(
            "hetune: warning: {}: has no chat template (tokenizer.chat_template), so that ChatML "
            "is taken, which is a guess; --chat-template gives another\n",
            model.info().file);
}

void add_allow_unused(CLI::App& app, bool& allow) {
    app.add_flag("--allow-unused", allow,
                 "go on where the file has tensors or settings that nothing reads");
}

void check_all_used(const ModelFile& file, const LayerGraph& graph, bool allow) {
    const std::string unused = require_all_used(file, graph, allow);
    if (!unused.empty()) tell("hetune: warning: {}\n", unused);
}

std::shared_ptr<ModelHost> ModelArguments::load_host() {
    options.fusion = fusion == "on";
    options.float_activations = activations == "f32";
    if (!memory_limit.empty())
        options.memory_limit = static_cast<int64_t>(parse_size(memory_limit).value());
    if (!prompt_cache_size.empty())
        options.prompt_cache_bytes = static_cast<int64_t>(parse_size(prompt_cache_size).value());
    // Owned by the callbacks, which the model keeps.
    const auto progress = std::make_shared<Progress>();
    if (!quiet) {
        options.compiled = [progress](std::string_view kernel) { progress->compiled(kernel); };
        options.progress = [progress](std::string_view stage, size_t done, size_t total) {
            progress->update(stage, done, total);
        };
    }
    options.warn = [progress](const std::string& line) {
        progress->say("hetune: warning: " + with_option_names(line));
    };
    auto model = std::make_shared<ModelHost>(file, options);
    progress->clear();
    if (options.context > model->info.trained_context)
        options.warn(
            fmt::format("--ctx {} is more than the {} tokens that {} was trained for; "
                        "text behind them may be nonsense",
                        options.context, model->info.trained_context, file));
    return model;
}

std::string device_line(const ModelInfo& info) {
    if (info.backend == "reference") return "the reference backend: plain C++ in float32";
    return fmt::format("{} ({}: {}), kernels by {}", info.arch, info.backend, info.device,
                       info.compiler.substr(0, info.compiler.find(' ')));
}

}  // namespace hetune
