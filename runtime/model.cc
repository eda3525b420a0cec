// hetune::Model: what hetune.h promises, put together from the parts.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "cache/code_store.h"
#include "planner/plan_text.h"
#include "runtime/hetune.h"
#include "runtime/model_parts.h"
#include "runtime/reference/reference_engine.h"
#include "runtime/replay.h"
#include "runtime/session.h"
#include "runtime/tokenizer/model_text.h"
#include "runtime/tokenizer/stream_decoder.h"
#include "runtime/tune/tunings_for.h"

namespace hetune {
namespace {

constexpr int64_t kDefaultContext = 4096;

class Stopwatch {
  public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int32_t most_likely(std::span<const float> logits) {
    return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
}

}  // namespace

struct __attribute__((visibility("hidden"))) Model::Impl {
    Impl(const std::string& path, ModelOptions the_options)
        : options(std::move(the_options)), file(path) {}

    void load();
    void load_session(const LayerGraph& graph);
    void record(const SessionOptions& wanted);  // as recipes
    // What `hetune autotune` found for this device and compiler; says what is stale.
    Tunings chosen_tunings(const CacheOptions& cache, const Environment& environment);
    // One token after another, from the compiled session or from the oracle.
    int32_t prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                   const DrawLimit& limit);
    int32_t next();
    // Cuts context and history back to the first `count` tokens of the history.
    void truncate(size_t count);
    int64_t room() const { return engine->context() - engine->position(); }

    ModelOptions options;
    ModelFile file;
    std::optional<ModelText> text;
    ModelInfo info;
    std::optional<CodeStore> codes;
    std::optional<TileStore> tiles;
    std::unique_ptr<Device> device;
    std::optional<KernelLibrary> library;
    std::unique_ptr<Engine> engine;
    Session* session = nullptr;           // engine, where it is compiled
    std::vector<int32_t> oracle_pending;  // drawn, but not yet in the oracle's context
    std::vector<int32_t> ends;            // tokens that end a generation
    std::vector<int32_t> history;         // all tokens of the context, and the one drawn last
};

void Model::Impl::load() {
    const Stopwatch watch;
    LayerGraph graph = build_layer_graph(file);
    const std::string unused = require_all_used(file, graph, options.allow_unused);
    if (!unused.empty() && options.warn) options.warn(unused);
    info.file = file.path().string();
    info.name = graph.name;
    info.architecture = graph.architecture;
    info.trained_context = graph.trained_context;
    info.vocabulary = graph.vocabulary;
    if (options.context < 0)
        throw std::runtime_error(fmt::format("--ctx {} is negative", options.context));
    if (options.context == 0) options.context = std::min(graph.trained_context, kDefaultContext);
    info.context = options.context;
    text.emplace(file,
                 TextOptions{.pre_tokenizer = options.pre_tokenizer,
                             .chat = {.source = options.chat_template}},
                 graph.vocabulary);
    if (text->has_tokenizer() && !text->tokenizer().guess().empty() && options.warn)
        options.warn(text->tokenizer().guess());
    if (options.backend == "reference") {
        info.backend = info.device = info.arch = "reference";
        engine = std::make_unique<ReferenceEngine>(file, std::move(graph), options.context);
    } else {
        load_session(graph);
    }
    if (text->has_tokenizer())
        for (int32_t token = 0; token < text->tokenizer().vocabulary_size(); ++token)
            if (text->tokenizer().ends_generation(token)) ends.push_back(token);
    info.load_seconds = watch.seconds();
}

void Model::Impl::load_session(const LayerGraph&) {
    const CacheOptions cache = cache_options_from_environment(options.warn);
    device = open_device(options.backend);
    codes.emplace(cache);
    if (options.tiles) tiles.emplace(cache);
    Environment environment = read_environment();
    environment.no_jit |= options.no_jit;
    environment.any_compiler_build |= options.any_compiler_build;
    library.emplace(device->arch(), *codes, environment, options.compiler, options.jobs);
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
                if (options.progress) options.progress(stage, done, total);
            },
            SessionChecks{.certify = certify_mode(options.certify),
                          .retry = options.retry,
                          .warn = options.warn});
    } catch (const CompileError&) {
        record(wanted);
        throw;
    }
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
    if (options.warn && !info.compiler.starts_with(maker + " "))
        options.warn("kernels by " + maker);
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
    if (chosen.stale > 0 && options.warn)
        options.warn(fmt::format(
            "{} of {} tunings were found with another compiler; `hetune autotune` tries "
            "them again (HETUNE_TUNE=off does without)",
            chosen.stale, chosen.used));
    return chosen.tunings;
}

int32_t Model::Impl::prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                            const DrawLimit& limit) {
    if (session != nullptr) return session->prompt(tokens, sampling, limit);
    if (sampling.temperature > 0)
        throw std::runtime_error("the reference backend only decodes greedily; leave --temp at 0");
    oracle_pending.insert(oracle_pending.end(), tokens.begin(), tokens.end());
    return next();
}

int32_t Model::Impl::next() {
    if (session != nullptr) return session->next();
    const int32_t token = most_likely(engine->forward(oracle_pending, false));
    oracle_pending = {token};
    return token;
}

void Model::Impl::truncate(size_t count) {
    history.resize(count);
    if (session != nullptr) return session->truncate(static_cast<int64_t>(count));
    const auto held = static_cast<size_t>(engine->position());
    if (count < held) engine->truncate(static_cast<int64_t>(count));
    oracle_pending.resize(count < held ? 0 : count - held);
}

Model::Model(const std::string& path, ModelOptions options)
    : impl_(std::make_unique<Impl>(path, std::move(options))) {
    impl_->load();
}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const ModelInfo& Model::info() const { return impl_->info; }

std::vector<int32_t> Model::tokenize(std::string_view text, bool parse_special) const {
    return impl_->text->tokenizer().encode_prompt(text, true, parse_special);
}
std::string Model::detokenize(std::span<const int32_t> tokens) const {
    return impl_->text->tokenizer().decode(tokens);
}

Generated Model::generate(std::string_view prompt, const Options& options, const OnText& on_text) {
    return generate(impl_->text->tokenizer().encode_prompt(prompt, position() == 0, true), options,
                    on_text);
}

Generated Model::generate(std::span<const int32_t> prompt, const Options& options,
                          const OnText& on_text) {
    Generated result{.prompt_tokens = static_cast<int64_t>(prompt.size()), .stop = "length"};
    if (options.max_tokens < 1) return result;
    std::optional<StreamDecoder> decoder;  // none without a tokenizer: the tokens alone
    if (impl_->text->has_tokenizer()) decoder.emplace(impl_->text->tokenizer());
    auto say = [&](const std::string& text) {
        result.text += text;
        return text.empty() || !on_text || on_text(text);
    };
    const Stopwatch prefill;
    const DrawLimit limit{.draws = options.max_tokens,
                          .ends = options.ignore_end ? std::span<const int32_t>() : impl_->ends};
    result.tokens.reserve(static_cast<size_t>(std::min(options.max_tokens, impl_->room())));
    impl_->history.reserve(static_cast<size_t>(impl_->engine->context()) + 1);
    int32_t token = impl_->prompt(prompt, options.sampling, limit);
    impl_->history.insert(impl_->history.end(), prompt.begin(), prompt.end());
    result.prefill_seconds = prefill.seconds();
    const Stopwatch decode;
    for (;;) {
        impl_->history.push_back(token);
        const bool ends = std::ranges::find(impl_->ends, token) != impl_->ends.end();
        if (ends && !options.ignore_end) {
            result.stop = "end";
            break;
        }
        result.tokens.push_back(token);
        if (!say(decoder ? decoder->feed(token) : "")) {
            result.stop = "stopped";
            break;
        }
        if (static_cast<int64_t>(result.tokens.size()) >= options.max_tokens) break;
        if (impl_->room() < 1) {
            result.stop = "context";
            break;
        }
        token = impl_->next();
    }
    result.decode_seconds = decode.seconds();
    say(decoder ? decoder->flush() : "");
    return result;
}

Generated Model::chat(const std::vector<Message>& conversation, const Options& options,
                      const OnText& on_text) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    for (const Message& message : conversation)
        messages.push_back({{"role", message.role}, {"content", message.content}});
    ChatOptions chat;
    chat.variables = chat_variables(options.chat_template_kwargs);
    const std::vector<int32_t> tokens = ChatTemplate::encode(
        impl_->text->tokenizer(), impl_->text->chat_template().render(messages, chat));
    // What the context already holds need not be computed again. Where the conversation was edited,
    // or the template rewrites earlier turns, it goes back to where they part; one token is left to
    // run.
    const auto& held = impl_->history;
    const auto parting = std::ranges::mismatch(held, tokens).in1 - held.begin();
    const size_t kept = std::min(static_cast<size_t>(parting), tokens.size() - 1);
    if (kept < held.size()) impl_->truncate(kept);
    return generate(std::span(tokens).subspan(kept), options, on_text);
}

std::vector<float> Model::logits(std::span<const int32_t> tokens, bool every_position) {
    impl_->history.insert(impl_->history.end(), tokens.begin(), tokens.end());
    return impl_->engine->forward(tokens, every_position);
}

const ModelFile& ModelParts::file(const Model& model) { return model.impl_->file; }
Session* ModelParts::session(const Model& model) { return model.impl_->session; }
KernelLibrary& ModelParts::library(const Model& model) { return *model.impl_->library; }

void Model::reset() {
    impl_->engine->reset();
    impl_->history.clear();
    impl_->oracle_pending.clear();
}
int64_t Model::position() const { return impl_->engine->position(); }

std::string Model::plan(bool prefill, bool json) const {
    if (impl_->session == nullptr) return {};
    const Plan plan =
        impl_->session->plan_for(prefill ? impl_->session->options().prefill_rows : 1, false);
    const Arch& arch = impl_->device->arch();
    return json ? plan_json(plan, arch, impl_->info.context).dump(2)
                : plan_text(plan, arch, impl_->info.context);
}

const char* version() { return HETUNE_VERSION; }
std::string cache_folder() { return cache_options_from_environment({}).folder.string(); }

}  // namespace hetune
