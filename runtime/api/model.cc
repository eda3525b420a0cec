// hetune::Model: what hetune.h promises, put together from the parts.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cache/code_store.h"
#include "planner/plan/kv_type.h"
#include "planner/plan/plan_text.h"
#include "runtime/api/hetune.h"
#include "runtime/api/model_parts.h"
#include "runtime/compile/stopwatch.h"
#include "runtime/engine/recipes.h"
#include "runtime/engine/session.h"
#include "runtime/oracle/reference_engine.h"
#include "runtime/text/model_text.h"
#include "runtime/text/stream_decoder.h"
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
    check_option("prefill_rows", options.prefill_rows, 0, 4096);
    check_option("memory_limit", options.memory_limit, 0, std::numeric_limits<int64_t>::max());
    check_option("state_snapshots", options.state_snapshots, 0, 1024);
    check_option("jobs", options.jobs, 0, 1024);
    const auto one_of = [](const char* member, const std::string& value,
                           const std::vector<std::string>& known) {
        if (std::ranges::find(known, value) == known.end())
            throw OptionError(fmt::format("ModelOptions::{} is '{}'; it must be one of {}", member,
                                          value, fmt::join(known, ", ")));
    };
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
    return text;
}

// Tokens that may be drawn: those behind the last one in use are padding. 0: all.
int32_t drawable_tokens(const Tokenizer& tokenizer) {
    int32_t count = tokenizer.vocabulary_size();
    while (count > 0 && tokenizer.vocabulary().type(count - 1) == TokenType::kUnused) --count;
    return count;
}

// Calls what the user of the library gave, from any thread, one call at a time. An exception of a
// warning is kept for the thread that uses the Model.
class Callbacks {
  public:
    explicit Callbacks(ModelOptions& options)
        : progress_(std::move(options.progress)),
          compiled_(std::move(options.compiled)),
          cancelled_(std::move(options.cancelled)),
          warn_(std::move(options.warn)) {}

    void progress(std::string_view stage, size_t done, size_t total) {
        const std::lock_guard lock(mutex_);
        if (progress_) progress_(stage, done, total);
        if (cancelled_ && cancelled_()) throw LoadCancelled("it was cancelled");
    }
    void compiled(std::string_view kernel) {
        const std::lock_guard lock(mutex_);
        if (compiled_) compiled_(kernel);
    }
    bool can_cancel() const { return static_cast<bool>(cancelled_); }
    bool cancelled() {
        const std::lock_guard lock(mutex_);
        return cancelled_ && cancelled_();
    }
    void warn(const std::string& line) noexcept {
        const std::lock_guard lock(mutex_);
        try {
            if (warn_) warn_(line);
        } catch (...) {
            if (!thrown_) thrown_ = std::current_exception();
        }
    }
    void rethrow() {
        const std::lock_guard lock(mutex_);
        if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    }

  private:
    std::mutex mutex_;
    decltype(ModelOptions::progress) progress_;
    decltype(ModelOptions::compiled) compiled_;
    decltype(ModelOptions::cancelled) cancelled_;
    decltype(ModelOptions::warn) warn_;
    std::exception_ptr thrown_;
};

}  // namespace

struct __attribute__((visibility("hidden"))) Model::Impl {
    Impl(const std::string& path, ModelOptions the_options)
        : options(std::move(the_options)), callbacks(options), file(path) {}

    void load();
    void load_session();
    void record(const SessionOptions& wanted);  // as recipes
    // What `hetune autotune` found for this device and compiler; says what is stale.
    Tunings chosen_tunings(const CacheOptions& cache, const Environment& environment);
    int64_t room() const { return engine->context() - engine->position(); }

    ModelOptions options;  // without the callbacks
    Callbacks callbacks;
    ModelFile file;
    std::optional<ModelText> text;
    ModelInfo info;
    std::optional<CodeStore> codes;
    std::optional<TileStore> tiles;
    std::unique_ptr<Device> device;
    std::optional<KernelLibrary> library;
    std::unique_ptr<Engine> engine;
    Session* session = nullptr;  // engine, where it is compiled
    std::vector<int32_t> ends;   // tokens that end a generation
    int32_t drawable = 0;        // tokens that may be drawn
};

void Model::Impl::load() {
    const Stopwatch watch;
    LayerGraph graph = build_layer_graph(file);
    const std::string unused = require_all_used(file, graph, options.allow_unused);
    if (!unused.empty()) callbacks.warn(unused);
    info.file = file.path().string();
    info.name = graph.name;
    info.architecture = graph.architecture;
    info.trained_context = graph.trained_context;
    info.vocabulary = graph.vocabulary;
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
    if (options.backend == "reference") {
        info.backend = info.device = info.arch = "reference";
        engine = std::make_unique<ReferenceEngine>(file, std::move(graph), options.context);
    } else {
        load_session();
    }
    if (text->has_tokenizer()) {
        const Tokenizer& tokenizer = text->tokenizer();
        drawable = drawable_tokens(tokenizer);
        for (int32_t token = 0; token < tokenizer.vocabulary_size(); ++token)
            if (tokenizer.ends_generation(token)) ends.push_back(token);
    }
    info.load_seconds = watch.seconds();
}

void Model::Impl::load_session() {
    const auto warn = [this](const std::string& line) { callbacks.warn(line); };
    const CacheOptions cache = cache_options_from_environment(warn);
    device = open_device({.backend = options.backend,
                          .index = options.device,
                          .model_bytes = static_cast<int64_t>(file.bytes())},
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
    const SessionOptions wanted{
        .context = options.context,
        .prefill_rows = options.prefill_rows,
        .fusion = options.fusion,
        .activations = options.float_activations ? Activations::kFloat : Activations::kQuantised,
        .kv = kv_type(options.kv_type),
        .state_snapshots = options.state_snapshots,
        .all_logits = options.all_logits,
        .memory_limit = options.memory_limit,
        .tunings = chosen_tunings(cache, environment)};
    std::unique_ptr<Session> made;
    try {
        made = std::make_unique<Session>(
            file, *device, *library, tiles ? &*tiles : nullptr, wanted,
            [this](const std::string& stage, size_t done, size_t total) {
                callbacks.progress(stage, done, total);
            },
            SessionChecks{
                .certify = certify_mode(options.certify), .retry = options.retry, .warn = warn});
    } catch (const CompileError& error) {
        record(wanted);
        if (error.cause() == CompileError::Cause::kGivenUp) throw LoadCancelled("it was cancelled");
        throw;
    }
    library->give_up_when({});  // both are of the load alone
    library->when_compiled({});
    record(wanted);
    session = made.get();
    engine = std::move(made);
    const DeviceInfo about = device->info();
    info.backend = about.backend;
    info.device = about.name;
    info.arch = device->arch().name;
    info.compiler = library->compiler().identity();
    // A compiler that is not installed has more than a name to say (absent_compiler.h).
    const std::string maker = library->compiler().name();
    if (!info.compiler.starts_with(maker + " ")) callbacks.warn("kernels by " + maker);
    info.memory_bytes = session->memory().total();
    info.memory_table = memory_table(session->memory());
    info.kernels_compiled = library->statistics().compiled;
    info.kernels_cached = library->statistics().cached;
    info.weights_repacked = session->repacked();
    info.compile_seconds = session->times().compile_ms / 1e3;
    info.repack_seconds = session->times().repack_ms / 1e3;
    info.certify_seconds = session->times().certify_ms / 1e3;
    info.kernels_certified =
        static_cast<int>(std::ranges::count_if(session->certificates(), &CertifiedKernel::fresh));
    info.kernels_refused = static_cast<int>(session->options().refused.size());
}

void Model::Impl::record(const SessionOptions& wanted) {
    if (!codes->wants_recipes()) return;
    for (const Recipe& recipe : recipes_of_session(file, wanted)) codes->record(recipe);
}

Tunings Model::Impl::chosen_tunings(const CacheOptions& cache, const Environment& environment) {
    const auto chosen = stored_tunings(cache, device->arch(), device->info().name,
                                       library->compiler().identity(), tune_use(environment.tune));
    if (chosen.stale > 0)
        callbacks.warn(fmt::format(
            "{} of {} tunings were found with another compiler; `hetune autotune` tries "
            "them again (HETUNE_TUNE=off does without)",
            chosen.stale, chosen.used));
    return chosen.tunings;
}

Model::Model(const std::string& path, ModelOptions options) {
    check_options(options);
    impl_ = std::make_unique<Impl>(path, std::move(options));
    try {
        impl_->load();
    } catch (const LoadCancelled&) {
        throw LoadCancelled(fmt::format(
            "{}: loading was cancelled; kernels and weights that were ready are in the cache",
            path));
    }
    impl_->callbacks.rethrow();
}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

Model::Impl& Model::impl() const {
    if (impl_ == nullptr) throw std::runtime_error("this hetune::Model was moved from");
    return *impl_;
}

const ModelInfo& Model::info() const { return impl().info; }

std::vector<int32_t> Model::tokenize(std::string_view text, bool parse_special) const {
    return impl().text->tokenizer().encode_prompt(text, true, parse_special);
}
std::string Model::detokenize(std::span<const int32_t> tokens) const {
    return impl().text->tokenizer().decode(tokens);
}

Generated Model::generate(std::string_view prompt, const Options& options, const OnText& on_text) {
    const bool first = impl().engine->tokens().empty();
    return generate(impl().text->tokenizer().encode_prompt(prompt, first, true), options, on_text);
}

Generated Model::generate(std::span<const int32_t> prompt, const Options& options,
                          const OnText& on_text) {
    Impl& model = impl();
    if (options.max_tokens < 0)
        throw OptionError(fmt::format("Model::Options::max_tokens is {}; it must be 0 or more",
                                      options.max_tokens));
    check_sampling(options.sampling);
    Generated result{.prompt_tokens = static_cast<int64_t>(prompt.size()), .stop = "length"};
    if (options.max_tokens == 0) {
        const Stopwatch prefill;
        model.engine->forward(prompt, false);
        result.prefill_seconds = prefill.seconds();
        return result;
    }
    std::optional<StreamDecoder> decoder;  // none without a tokenizer: the tokens alone
    if (model.text->has_tokenizer()) decoder.emplace(model.text->tokenizer());
    const auto says_stop = [&](const std::string& text) {
        result.text += text;
        return !text.empty() && on_text && !on_text(text);
    };
    const DrawLimit limit{.draws = options.max_tokens,
                          .ends = options.ignore_end ? std::span<const int32_t>() : model.ends,
                          .vocabulary = model.drawable,
                          .cancelled = options.cancelled};
    result.tokens.reserve(static_cast<size_t>(std::min(options.max_tokens, model.room())));
    const Stopwatch prefill;
    int32_t token = 0;
    try {
        token = model.engine->prompt(prompt, options.sampling, limit);
    } catch (const Cancelled&) {
        result.stop = "stopped";
        result.prefill_seconds = prefill.seconds();
        return result;
    }
    result.prefill_seconds = prefill.seconds();
    const Stopwatch decode;
    for (;;) {
        const bool ends = std::ranges::find(model.ends, token) != model.ends.end();
        if (ends && !options.ignore_end) {
            result.stop = "end";
            break;
        }
        result.tokens.push_back(token);
        if (says_stop(decoder ? decoder->feed(token) : "")) {
            result.stop = "stopped";
            break;
        }
        if (std::ssize(result.tokens) >= options.max_tokens) break;
        if (model.room() < 1) {
            result.stop = "context";
            break;
        }
        token = model.engine->next();
    }
    result.decode_seconds = decode.seconds();
    const std::string rest = decoder ? decoder->flush() : "";
    if (result.stop == "stopped")
        result.text += rest;
    else
        says_stop(rest);
    model.callbacks.rethrow();
    return result;
}

Generated Model::chat(const std::vector<Message>& conversation, const Options& options,
                      const OnText& on_text) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (const Message& message : conversation)
        messages.push_back({{"role", message.role}, {"content", message.content}});
    Impl& model = impl();
    ChatOptions chat;
    chat.variables = chat_variables(options.chat_template_kwargs);
    const std::vector<int32_t> tokens =
        model.text->chat_template().encode(model.text->tokenizer(), messages, chat);
    if (tokens.empty())
        throw std::runtime_error("the chat template makes no text of these messages");
    // What the context already holds need not be computed again. Where the conversation was edited,
    // or the template rewrites earlier turns, it goes back to where they part; one token is left to
    // run.
    const std::span<const int32_t> held = model.engine->tokens();
    const auto parting = std::ranges::mismatch(held, tokens).in1 - held.begin();
    const size_t kept = std::min(static_cast<size_t>(parting), tokens.size() - 1);
    if (kept < held.size()) model.engine->truncate(static_cast<int64_t>(kept));
    return generate(std::span(tokens).subspan(kept), options, on_text);
}

std::vector<float> Model::logits(std::span<const int32_t> tokens, bool every_position) {
    std::vector<float> logits = impl().engine->forward(tokens, every_position);
    impl().callbacks.rethrow();
    return logits;
}

const ModelText& ModelParts::text(const Model& model) { return *model.impl().text; }
const ModelFile& ModelParts::file(const Model& model) { return model.impl().file; }
Session* ModelParts::session(const Model& model) { return model.impl().session; }
KernelLibrary& ModelParts::library(const Model& model) { return *model.impl().library; }

void Model::reset() { impl().engine->reset(); }
int64_t Model::position() const { return impl().engine->position(); }

std::string Model::plan(bool prefill, bool json) const {
    const Session* session = impl().session;
    if (session == nullptr) return {};
    const Plan plan = session->plan_for(prefill ? session->options().prefill_rows : 1, false);
    const Arch& arch = impl().device->arch();
    const int64_t context = impl().info.context;
    return json ? plan_json(plan, arch, context).dump(2) : plan_text(plan, arch, context);
}

std::vector<DeviceListing> devices(std::vector<std::string>* unavailable) {
    DeviceList list = list_devices();
    std::vector<DeviceListing> listings;
    for (const ListedDevice& device : list.devices)
        listings.push_back({.index = device.index,
                            .backend = device.backend->name,
                            .name = device.found.name,
                            .arch = device.found.arch,
                            .memory_bytes = static_cast<int64_t>(device.found.memory_bytes),
                            .integrated = device.found.integrated,
                            .unusable = device.found.unusable});
    if (unavailable != nullptr) *unavailable = std::move(list.missing);
    return listings;
}

const char* version() { return HETUNE_VERSION; }
std::string cache_folder() { return cache_options_from_environment({}).folder.string(); }

}  // namespace hetune
