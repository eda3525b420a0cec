// hetune verify: the compiled model against the oracle.
#include "runtime/api/verify.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "planner/plan/kv_type.h"
#include "runtime/api/model_host.h"
#include "tools/command.h"
#include "tools/interrupts.h"
#include "tools/json_output.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/terminal.h"
#include "tools/token_input.h"

namespace hetune {
namespace {

struct VerifyArguments {
    ModelArguments model;
    TokenInput input;
    std::optional<double> max_kl, min_top1;  // instead of gates_of()
    int64_t rows = 256;
    bool values = false;
    bool one_by_one = false;
    bool json = false;
};

// Prose, numbers, code and other scripts: what a model that is used meets.
constexpr const char* kText =
    "The old lighthouse stood at the end of the pier, and every evening at half past six the "
    "keeper "
    "climbed its 184 steps to light the lamp. \"Is anybody there?\" he asked, although he knew "
    "that "
    "only gulls would answer. On 3 March 1921 the sea rose by 2.75 metres; the log book says so in "
    "blue ink, between a list of spare parts and a recipe for fish soup.\n\n"
    "```python\ndef mean(values):\n    if not values:\n        raise ValueError(\"no values\")\n"
    "    return sum(values) / len(values)\n```\n\n"
    "Die Brücke wurde 1887 gebaut. Le café ouvre à sept heures, sauf le dimanche. Поезд прибывает "
    "утром. 図書館は駅の前にあります。\n\n"
    "1. Measure the length of the wall twice, and write both numbers down.\n"
    "2. If they differ by more than 5 mm, measure a third time.\n"
    "3. Cut the board a little longer than it has to be: what is too long can be cut again, but "
    "what is too short stays too short.\n\n"
    "In a right-angled triangle the square of the longest side equals the sum of the squares of "
    "the "
    "other two, so that sides of 3, 4 and 5 give 9 + 16 = 25. Nobody knows who noticed it first.";

// The compiled model beside two oracles.
struct Comparison {
    bool halves = false;      // some products are of halves
    LogitsDistance floats;    // from the oracle in float32
    LogitsDistance rounding;  // from that oracle to one that rounds as the kernels do
    ModelComparison rounded;  // from that one: sums in another order, and what they round otherwise
};

// Plans of a prompt multiply halves where the device has matrix units, but for narrow matrices. A
// token and all plans elsewhere multiply 8-bit blocks.
OracleRounding rounding_of(const VerifyArguments& args, const ModelHost& model) {
    if (!model.loaded) return {};
    const LoadedModel& loaded = *model.loaded;
    const StepKind kind =
        args.one_by_one ? kDecodeStep : logits_step(loaded.options(), loaded.device().arch());
    return {.activations = !args.model.options.float_activations,
            .halves = products_of_halves(loaded.plan_for(kind)),
            .kv = kv_type(args.model.options.kv_type)};
}

std::vector<float> every_logit(const Model& model, std::span<const int32_t> tokens,
                               bool one_by_one = false) {
    return model.open().logits(tokens, {.every_position = true, .one_by_one = one_by_one});
}

Comparison compare(const VerifyArguments& args, const std::shared_ptr<ModelHost>& model,
                   const std::vector<int32_t>& tokens) {
    const LayerGraph graph = build_layer_graph(model->file);
    const int64_t vocabulary = graph.vocabulary;
    ReferenceEngine exact(model->file, graph, model->info.context);
    const OracleRounding rounding = rounding_of(args, *model);
    ReferenceEngine oracle(model->file, graph, model->info.context, rounding);
    const std::vector<float> wanted = oracle_logits(exact, tokens);
    Comparison result{.halves = !rounding.halves.empty()};
    if (model->loaded && !args.one_by_one) {
        result.rounded = verify(*model, oracle, tokens);
    } else {
        std::vector<float>& logits = result.rounded.model_logits;
        logits = every_logit(Model(model), tokens, args.one_by_one);
        result.rounded.logits = compare_logits(oracle_logits(oracle, tokens), logits, vocabulary);
    }
    result.floats = compare_logits(wanted, result.rounded.model_logits, vocabulary);
    result.rounding = compare_logits(wanted, oracle.value(oracle.graph().logits), vocabulary);
    return result;
}

// Bounds of the distance to the oracle in floats.
struct Gates {
    double max_kl, min_top1;
};

// What rounding costs by its arithmetic alone is known from the two oracles. A kernel that sums in
// another order rounds some values to the neighbour, behind which later roundings fall otherwise: a
// sound model has noise of the same size, not the same noise, so twice the cost is allowed. What is
// left are sums in float32 (1e-6; 7e-12 measured on SmolLM2-135M), or products of halves (1e-4;
// 1.8e-6 measured on the tiny model), and one near tie.
Gates gates_of(const VerifyArguments& args, const Comparison& report) {
    const LogitsDistance& rounding = report.rounding;
    const double tie = 100.0 / static_cast<double>(std::max<int64_t>(rounding.rows, 1));
    return {args.max_kl.value_or(2 * rounding.mean_kl + (report.halves ? 1e-4 : 1e-6)),
            args.min_top1.value_or(std::max(0.0, 100 - 2 * (100 - rounding.top1) - tie))};
}

// What a KV cache in 8 bits costs: the distance to the logits with one in f16. Takes the model's
// place, so that its memory is free for the other.
std::optional<LogitsDistance> kv_distance(VerifyArguments& args, std::shared_ptr<ModelHost>& model,
                                          const std::vector<int32_t>& tokens) {
    if (args.model.options.kv_type != "q8" || !model->loaded) return std::nullopt;
    const int64_t vocabulary = model->info.vocabulary;
    const std::vector<float> in_8_bits = every_logit(Model(model), tokens);
    model.reset();
    args.model.options.kv_type = "f16";
    model = args.model.load_host();
    return compare_logits(every_logit(Model(model), tokens), in_8_bits, vocabulary);
}

// Why the gate is missed; empty when it is not. A NaN misses it.
std::string missed_gate(const LogitsDistance& distance, const Gates& gates) {
    if (!(distance.mean_kl <= gates.max_kl))
        return fmt::format("mean KL {:.3g} is above {:.3g} (--max-kl)", distance.mean_kl,
                           gates.max_kl);
    if (!(distance.top1 >= gates.min_top1))
        return fmt::format("top-1 agreement {:.2f} % is below {:.4g} % (--min-top1)", distance.top1,
                           gates.min_top1);
    return {};
}

nlohmann::ordered_json errors_json(std::span<const ValueError> errors) {
    auto list = nlohmann::ordered_json::array();
    for (const ValueError& error : errors)
        list.push_back(
            {{"layer", error.layer}, {"step", error.name}, {"relative", error.relative}});
    return list;
}

nlohmann::ordered_json distance_json(const LogitsDistance& d) {
    return {{"mean_kl", d.mean_kl}, {"max_kl", d.max_kl}, {"top1", d.top1}};
}

void print_json(const ModelInfo& model, const Comparison& report, const Gates& gates,
                const std::optional<LogitsDistance>& kv, bool passed) {
    const LogitsDistance& d = report.floats;
    nlohmann::ordered_json against_f16;
    if (kv) against_f16 = distance_json(*kv);
    fmt::print("{}\n", json_text(nlohmann::ordered_json{
                           {"model", model.name},
                           {"backend", model.backend},
                           {"arch", model.arch},
                           {"tokens", d.rows},
                           {"mean_kl", d.mean_kl},
                           {"max_kl", d.max_kl},
                           {"top1", d.top1},
                           {"max_abs", d.max_abs},
                           {"allowed_mean_kl", gates.max_kl},
                           {"allowed_top1", gates.min_top1},
                           {"rounding_alone", distance_json(report.rounding)},
                           {"against_rounded", distance_json(report.rounded.logits)},
                           {"q8_kv_against_f16", against_f16},
                           {"passed", passed},
                           {"layers", errors_json(worst_of_layers(report.rounded.values))},
                           {"values", errors_json(report.rounded.values)}}));
}

void print_text(const Comparison& report, const Gates& gates,
                const std::optional<LogitsDistance>& kv, bool every_value) {
    const LogitsDistance& d = report.floats;
    const LogitsDistance &alone = report.rounding, &rounded = report.rounded.logits;
    fmt::print(
        "{} tokens against the oracle: mean KL {:.3g}, max KL {:.3g}, top-1 {:.2f} %, "
        "largest difference of a logit {:.3g}\n"
        "allowed: mean KL {:.3g}, top-1 {:.2f} %, from what rounding alone costs the oracle: mean "
        "KL {:.3g}, top-1 {:.2f} %\n"
        "against the oracle that rounds as the kernels do: mean KL {:.3g}, max KL {:.3g}, top-1 "
        "{:.2f} %\n",
        d.rows, d.mean_kl, d.max_kl, d.top1, d.max_abs, gates.max_kl, gates.min_top1, alone.mean_kl,
        alone.top1, rounded.mean_kl, rounded.max_kl, rounded.top1);
    if (kv)
        fmt::print(
            "the KV cache in 8 bits against one in f16: mean KL {:.3g}, max KL {:.3g}, top-1 "
            "{:.2f} %\n",
            kv->mean_kl, kv->max_kl, kv->top1);
    const std::vector<ValueError>& values = report.rounded.values;
    if (values.empty()) return;
    fmt::print("\n{:>6}  {:<36} {:>14}\n", "layer", every_value ? "step" : "worst step",
               "relative error");
    for (const ValueError& error : every_value ? values : worst_of_layers(values))
        fmt::print("{:>6}  {:<36} {:>14.3g}\n", error.layer < 0 ? "-" : std::to_string(error.layer),
                   error.name, error.relative);
}

int run(VerifyArguments& args) {
    catch_interrupts({});  // there is nothing to keep: the first Ctrl-C ends it
    args.model.options.all_logits = true;
    std::shared_ptr<ModelHost> model = args.model.load_host();
    std::vector<int32_t> tokens = args.input.read(Model(model));
    if (tokens.empty()) tokens = Model(model).tokenize(kText);
    tokens.resize(
        std::min(tokens.size(), static_cast<size_t>(std::min(args.rows, model->info.context))));

    if (!args.json) tell("{}\n", device_line(model->info));
    const Comparison report = compare(args, model, tokens);
    const Gates gates = gates_of(args, report);
    const std::optional<LogitsDistance> kv = kv_distance(args, model, tokens);
    const std::string missed = missed_gate(report.floats, gates);
    if (args.json)
        print_json(model->info, report, gates, kv, missed.empty());
    else
        print_text(report, gates, kv, args.values);
    if (missed.empty()) return 0;
    throw std::runtime_error(fmt::format("{}: {}", args.model.file, missed));
}

const RegisterCommand kVerify{
    "verify", "Compares the compiled model with the oracle; exit code 1 past the gate",
    [](CLI::App& app) {
        auto args = std::make_shared<VerifyArguments>();
        args->model.add_to(app);
        args->input.add_to(app, false);
        app.add_option("--max-kl", args->max_kl,
                       "largest mean KL divergence; default: follows from what is rounded")
            ->check(decimal(0, 1e9));
        app.add_option("--min-top1", args->min_top1,
                       "least top-1 agreement in percent; default: likewise")
            ->check(decimal(0, 100));
        app.add_option("--rows", args->rows, "tokens to compare, at most")
            ->check(whole_number(1, 1 << 30))
            ->capture_default_str();
        app.add_flag("--one-by-one", args->one_by_one,
                     "feed tokens by decoding; no values of steps");
        app.add_flag("--values", args->values, "list every step, not only the worst of a layer");
        app.add_flag("--json", args->json, "print JSON");
        app.footer(
            "The oracle is plain C++ in float32 on the weights as they are in the file. Without\n"
            "tokens or text a short text of several kinds is taken. The error of a step is\n"
            "max |a - b| / max |b| against the oracle that rounds activations and the KV cache as\n"
            "the kernels do, with that of the steps before it.\n\n"
            "Example:\n  hetune verify model.gguf --backend cpu --rows 64");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
