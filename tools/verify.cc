// hetune verify: the compiled model against the oracle.
#include "runtime/verify.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/model_parts.h"
#include "tools/command.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/token_input.h"

namespace hetune {
namespace {

struct VerifyArguments {
    ModelArguments model;
    TokenInput input;
    double max_kl = 2e-3;
    double min_top1 = 93;
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

ModelComparison compare(Model& model, const std::vector<int32_t>& tokens, bool one_by_one) {
    const ModelFile& file = ModelParts::file(model);
    ReferenceEngine oracle(file, build_layer_graph(file), model.info().context);
    if (one_by_one) {  // the kernels of decoding
        std::vector<float> logits;
        for (const int32_t token : tokens) {
            const std::vector<float> row = model.logits(std::span(&token, 1), false);
            logits.insert(logits.end(), row.begin(), row.end());
        }
        return {compare_logits(oracle.forward(tokens, true), logits, oracle.vocabulary()), {}};
    }
    if (Session* session = ModelParts::session(model)) return verify(*session, oracle, tokens);
    return {compare_logits(oracle.forward(tokens, true), model.logits(tokens, true),
                           oracle.vocabulary()),
            {}};
}

// What a KV cache in 8 bits costs: the distance to the logits with one in f16. Takes the model's
// place, so that its memory is free for the other.
std::optional<LogitsDistance> kv_distance(VerifyArguments& args, std::optional<Model>& model,
                                          const std::vector<int32_t>& tokens) {
    if (args.model.options.kv_type != "q8" || model->info().backend == "reference")
        return std::nullopt;
    const int64_t vocabulary = model->info().vocabulary;
    model->reset();
    const std::vector<float> in_8_bits = model->logits(tokens, true);
    model.reset();
    args.model.options.kv_type = "f16";
    model.emplace(args.model.load());
    return compare_logits(model->logits(tokens, true), in_8_bits, vocabulary);
}

// Why the gate is missed; empty when it is not. A NaN misses it.
std::string missed_gate(const LogitsDistance& distance, const VerifyArguments& args) {
    if (!(distance.mean_kl <= args.max_kl))
        return fmt::format("mean KL {:.3g} is above --max-kl {:g}", distance.mean_kl, args.max_kl);
    if (!(distance.top1 >= args.min_top1))
        return fmt::format("top-1 agreement {:.2f} % is below --min-top1 {:g}", distance.top1,
                           args.min_top1);
    return {};
}

nlohmann::ordered_json errors_json(std::span<const ValueError> errors) {
    auto list = nlohmann::ordered_json::array();
    for (const ValueError& error : errors)
        list.push_back(
            {{"layer", error.layer}, {"step", error.name}, {"relative", error.relative}});
    return list;
}

void print_json(const Model& model, const ModelComparison& report,
                const std::optional<LogitsDistance>& kv, bool passed) {
    const LogitsDistance& d = report.logits;
    nlohmann::ordered_json against_f16;
    if (kv) against_f16 = {{"mean_kl", kv->mean_kl}, {"max_kl", kv->max_kl}, {"top1", kv->top1}};
    fmt::print("{}\n",
               nlohmann::ordered_json{{"model", model.info().name},
                                      {"backend", model.info().backend},
                                      {"arch", model.info().arch},
                                      {"tokens", d.rows},
                                      {"mean_kl", d.mean_kl},
                                      {"max_kl", d.max_kl},
                                      {"top1", d.top1},
                                      {"max_abs", d.max_abs},
                                      {"q8_kv_against_f16", against_f16},
                                      {"passed", passed},
                                      {"layers", errors_json(worst_of_layers(report.values))},
                                      {"values", errors_json(report.values)}}
                   .dump(2));
}

void print_text(const Model& model, const ModelComparison& report,
                const std::optional<LogitsDistance>& kv, bool every_value) {
    const LogitsDistance& d = report.logits;
    fmt::print(
        "{}\n{} tokens against the oracle: mean KL {:.3g}, max KL {:.3g}, top-1 {:.2f} %, "
        "largest difference of a logit {:.3g}\n",
        device_line(model.info()), d.rows, d.mean_kl, d.max_kl, d.top1, d.max_abs);
    if (kv)
        fmt::print(
            "the KV cache in 8 bits against one in f16: mean KL {:.3g}, max KL {:.3g}, top-1 "
            "{:.2f} %\n",
            kv->mean_kl, kv->max_kl, kv->top1);
    if (report.values.empty()) return;
    fmt::print("\n{:>6}  {:<36} {:>14}\n", "layer", every_value ? "step" : "worst step",
               "relative error");
    for (const ValueError& error : every_value ? report.values : worst_of_layers(report.values))
        fmt::print("{:>6}  {:<36} {:>14.3g}\n", error.layer < 0 ? "-" : std::to_string(error.layer),
                   error.name, error.relative);
}

int run(VerifyArguments& args) {
    args.model.options.all_logits = true;
    std::optional<Model> model(args.model.load());
    std::vector<int32_t> tokens = args.input.read(*model);
    if (tokens.empty()) tokens = model->tokenize(kText);
    tokens.resize(
        std::min(tokens.size(), static_cast<size_t>(std::min(args.rows, model->info().context))));

    const ModelComparison report = compare(*model, tokens, args.one_by_one);
    const std::optional<LogitsDistance> kv = kv_distance(args, model, tokens);
    const std::string missed = missed_gate(report.logits, args);
    if (args.json)
        print_json(*model, report, kv, missed.empty());
    else
        print_text(*model, report, kv, args.values);
    if (missed.empty()) return 0;
    throw std::runtime_error(fmt::format("{}: {}", args.model.file, missed));
}

const RegisterCommand kVerify{
    "verify", "Compares the compiled model with the oracle; exit code 1 past the gate",
    [](CLI::App& app) {
        auto args = std::make_shared<VerifyArguments>();
        args->model.add_to(app);
        args->input.add_to(app, false);
        app.add_option("--max-kl", args->max_kl, "largest mean KL divergence")
            ->check(decimal(0, 1e9))
            ->capture_default_str();
        app.add_option("--min-top1", args->min_top1, "least top-1 agreement in percent")
            ->check(decimal(0, 100))
            ->capture_default_str();
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
            "max |a - b| / max |b|, with that of the steps before it.\n\n"
            "Example:\n  hetune verify model.gguf --backend cpu --rows 64");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
