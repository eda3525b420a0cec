#include "runtime/api/model_host.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "planner/plan/kv_type.h"
#include "runtime/compile/stopwatch.h"
#include "runtime/engine/recipes.h"
#include "runtime/oracle/reference_engine.h"
#include "runtime/trial/tunings_for.h"

namespace hetune {
namespace {

void check_option(const char* member, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high)
        throw OptionError(
            fmt::format("ModelOptions::{} is {}; it must be {} to {}", member, value, low, high));
}

void check_options(const ModelOptions& options) {
    constexpr int64_t kMost = 1 << 30;
    check_option("device", options.device, -1, kMost);
    check_option("context", options.context, 0, kMost);
    check_option("parallel", options.parallel, 1, kMostSequences);
    check_option("prefill_rows", options.prefill_rows, 0, 4096);
    check_option("memory_limit", options.memory_limit, 0, std::numeric_limits<int64_t>::max());
    check_option("state_snapshots", options.state_snapshots, 0, 1024);
    check_option("state_checkpoints", options.state_checkpoints, -1, 1024);
    check_option("jobs", options.jobs, 0, 1024);
    check_option("threads", options.threads, 0, 1024);
    check_option("most_waiting", options.most_waiting, 1, kMost);
    const auto one_of = [](const char* member, const std::string& value,
                           const std::vector<std::string>& known) {
        if (std::ranges::find(known, value) == known.end())
            throw OptionError(fmt::format("ModelOptions::{} is '{}'; it must be one of {}", member,
                                          value, fmt::join(known, ", ")));
    };
    check_option("prompt_cache_bytes", options.prompt_cache_bytes, 1,
                 std::numeric_limits<int64_t>::max());
    if (!options.prompt_cache.empty() && !options.prefix_cache)
        throw OptionError(
            "ModelOptions::prompt_cache keeps what prompts have in common, and "
            "ModelOptions::prefix_cache = false computes every prompt as a whole: leave one of "
            "them out");
    one_of("kv_type", options.kv_type, kv_type_names());
    one_of("certify", options.certify, {"off", "once", "always"});
}

// As a shell reads it.
std::string quoted(const std::string& word) {
    constexpr std::string_view kPlain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./,+:@=";
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
    std::string out = "'";
    for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

// `hetune prewarm` with these makes the kernels that a load with `options` needs.
std::string prewarm_arguments(const std::string& file, const ModelOptions& options) {
    const ModelOptions plain;
    std::string text = quoted(file);
    if (options.kv_type != plain.kv_type) text += " --kv " + options.kv_type;
    if (options.float_activations) text += " --activations f32";
    if (options.prefill_rows > 0) text += fmt::format(" --prefill-rows {}", options.prefill_rows);
    if (options.parallel > 1) text += fmt::format(" --batch {}", options.parallel);
    return text;
}

// Tokens that may be drawn: those behind the last one in use are padding. 0: all.
int32_t drawable_tokens(const Tokenizer& tokenizer) {
    int32_t count = tokenizer.vocabulary_size();
    while (count > 0 && tokenizer.vocabulary().type(count - 1) == TokenType::kUnused) --count;
    return count;
}

// Before anything is made of them.
ModelOptions checked(ModelOptions options) {
    check_options(options);
    return options;
}

}  // namespace

void Callbacks::progress(std::string_view stage, size_t done, size_t total) {
    const std::lock_guard lock(mutex_);
    if (progress_) progress_(stage, done, total);
    if (cancelled_ && cancelled_()) throw LoadCancelled("it was cancelled");
}

void Callbacks::compiled(std::string_view kernel) {
    const std::lock_guard lock(mutex_);
    if (compiled_) compiled_(kernel);
}

bool Callbacks::cancelled() {
    const std::lock_guard lock(mutex_);
    return cancelled_ && cancelled_();
}

void Callbacks::warn(const std::string& line) noexcept {
    const std::lock_guard lock(mutex_);
    try {
        if (warn_) warn_(line);
    } catch (...) {
        if (!thrown_) thrown_ = std::current_exception();
    }
}

void Callbacks::rethrow() {
    const std::lock_guard lock(mutex_);
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

ModelHost::ModelHost(const std::string& path, ModelOptions the_options)
    : options(checked(std::move(the_options))), callbacks(options), file(path) {
    try {
        scheduler.emplace([this] { return load(); }, options.most_waiting);
    } catch (const LoadCancelled&) {
        throw LoadCancelled(fmt::format(
            "{}: loading was cancelled; kernels and weights that were ready are in the cache",
            path));
    }
    callbacks.rethrow();
}

std::unique_ptr<Engine> ModelHost::load() {
    const Stopwatch watch;
    LayerGraph graph = build_layer_graph(file);
    const std::string unused = require_all_used(file, graph, options.allow_unused);
    if (!unused.empty()) callbacks.warn(unused);
    info.file = file.path().string();
    info.name = graph.name;
    info.architecture = graph.architecture;
    info.trained_context = graph.trained_context;
    info.vocabulary = graph.vocabulary;
    info.embedding = graph.hidden;
    if (options.context == 0 && file.find(graph.architecture + ".context_length") == nullptr)
        callbacks.warn(
            fmt::format("{}: names no context length ({}.context_length); {} tokens are a guess, "
                        "and -c gives another",
                        info.file, graph.architecture, kDefaultContext));
    if (options.context == 0) options.context = std::min(graph.trained_context, kDefaultContext);
    info.context = options.context;
    text.emplace(file,
                 TextOptions{.pre_tokenizer = options.pre_tokenizer,
                             .chat = {.source = options.chat_template}},
                 graph.vocabulary);
    if (text->has_tokenizer() && !text->tokenizer().warning().empty())
        callbacks.warn(text->tokenizer().warning());
    // Where all is in the cache, nothing asks later.
    if (callbacks.cancelled()) throw LoadCancelled("it was cancelled");
    std::unique_ptr<Engine> engine;
    if (options.backend == "reference") {
        info.backend = info.device = info.arch = "reference";
        engine = std::make_unique<ReferenceEngine>(file, std::move(graph), options.context);
    } else {
        engine = load_compiled();
    }
    if (text->has_tokenizer()) {
        const Tokenizer& tokenizer = text->tokenizer();
        drawable = drawable_tokens(tokenizer);
        for (int32_t token = 0; token < tokenizer.vocabulary_size(); ++token)
            if (tokenizer.ends_generation(token)) ends.push_back(token);
    }
    info.has_tokenizer = text->has_tokenizer();
    info.load_seconds = watch.seconds();
    return engine;
}

std::unique_ptr<Engine> ModelHost::load_compiled() {
    const auto warn = [this](const std::string& line) { callbacks.warn(line); };
    const CacheOptions cache = cache_options_from_environment(warn);
    if (is_kept_by_cache(options.prompt_cache, cache.folder))
        throw OptionError(fmt::format(
            "ModelOptions::prompt_cache is {}, where hetune's cache keeps its own files "
            "and removes others; name another folder, as {}",
            options.prompt_cache, (cache.folder / "prompts").string()));
    device = open_device({.backend = options.backend,
                          .index = options.device,
                          .model_bytes = static_cast<int64_t>(file.bytes()),
                          .threads = options.threads},
                         warn);
    codes.emplace(cache);
    if (options.tiles) tiles.emplace(cache);
    Environment environment = read_environment();
    environment.no_jit |= options.no_jit;
    environment.any_compiler_build |= options.any_compiler_build;
    library.emplace(device->arch(), *codes, environment, options.compiler, options.jobs);
    library->when_compiled([this](const KernelSpec& spec) { callbacks.compiled(spec.name); });
    if (callbacks.can_cancel()) library->give_up_when([this] { return callbacks.cancelled(); });
    library->name_model(prewarm_arguments(file.path().string(), options));
    const LoadOptions wanted{
        .context = options.context,
        .sequences = options.parallel,
        .prefill_rows = options.prefill_rows,
        .fusion = options.fusion,
        .activations = options.float_activations ? Activations::kFloat : Activations::kQuantised,
        .kv = kv_type(options.kv_type),
        .state_snapshots = options.state_snapshots,
        .prefixes = !options.prefix_cache  ? Prefixes::kNone
                    : options.exact_prefix ? Prefixes::kExact
                                           : Prefixes::kAll,
        .state_checkpoints = options.state_checkpoints,
        .all_logits = options.all_logits,
        .hidden_states = options.embeddings,
        .memory_limit = options.memory_limit,
        .tunings = chosen_tunings(cache, environment)};
    try {
        loaded.emplace(
            file, *device, *library, tiles ? &*tiles : nullptr, wanted,
            [this](const std::string& stage, size_t done, size_t total) {
                callbacks.progress(stage, done, total);
            },
            LoadChecks{
                .certify = certify_mode(options.certify), .retry = options.retry, .warn = warn});
    } catch (const CompileError& error) {
        record(wanted);
        if (error.cause() == CompileError::Cause::kGivenUp) throw LoadCancelled("it was cancelled");
        throw;
    }
    library->give_up_when({});  // both are of the load alone
    library->when_compiled({});
    record(wanted);
    memory.emplace(*loaded);
    if (!options.prompt_cache.empty()) {
        prompts.emplace(options.prompt_cache, static_cast<uint64_t>(options.prompt_cache_bytes),
                        warn);
        const CacheKey identity =
            tiles ? ModelTiles(file, *tiles).identity() : identify_model(file, true);
        memory->use_files(*prompts, maker_of_prompts(*loaded, identity, *library));
    }
    auto engine = std::make_unique<Stepper>(*loaded, *memory);
    stepper = engine.get();
    const DeviceInfo about = device->info();
    info.backend = about.backend;
    info.device = about.name;
    info.arch = device->arch().name;
    info.compiler = library->compiler().identity();
    // A compiler that is not installed has more than a name to say (absent_compiler.h).
    const std::string maker = library->compiler().name();
    if (!info.compiler.starts_with(maker + " ")) callbacks.warn("kernels by " + maker);
    info.memory_bytes = loaded->memory().total();
    info.memory_table = memory_table(loaded->memory());
    info.kernels_compiled = library->statistics().compiled;
    info.kernels_cached = library->statistics().cached;
    info.weights_repacked = loaded->repacked();
    info.compile_seconds = loaded->times().compile_ms / 1e3;
    info.repack_seconds = loaded->times().repack_ms / 1e3;
    info.certify_seconds = loaded->times().certify_ms / 1e3;
    info.kernels_certified =
        static_cast<int>(std::ranges::count_if(loaded->certificates(), &CertifiedKernel::fresh));
    info.kernels_refused = static_cast<int>(loaded->options().refused.size());
    return engine;
}

void ModelHost::record(const LoadOptions& wanted) {
    if (!codes->wants_recipes()) return;
    for (const Recipe& recipe : recipes_of_load(file, wanted)) codes->record(recipe);
}

Tunings ModelHost::chosen_tunings(const CacheOptions& cache, const Environment& environment) {
    const auto chosen = stored_tunings(cache, device->arch(), device->info().name,
                                       library->compiler().identity(), tune_use(environment.tune));
    if (chosen.stale > 0)
        callbacks.warn(fmt::format(
            "{} of {} tunings were found with another compiler; `hetune autotune` tries "
            "them again (HETUNE_TUNE=off does without)",
            chosen.stale, chosen.used));
    return chosen.tunings;
}

}  // namespace hetune
