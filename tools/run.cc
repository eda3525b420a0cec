// hetune run: text from a model, once or as a conversation.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>

#include "runtime/api/hetune.h"
#include "runtime/load/sampling.h"
#include "runtime/text/chat_template.h"
#include "tools/chat_input.h"
#include "tools/command.h"
#include "tools/interrupts.h"
#include "tools/model_options.h"
#include "tools/option_names.h"
#include "tools/options.h"
#include "tools/terminal.h"
#include "tools/token_input.h"

namespace hetune {
namespace {

using Clock = std::chrono::steady_clock;
const Clock::time_point kStart = Clock::now();  // of the process, near enough

double seconds_since_start() {
    return std::chrono::duration<double>(Clock::now() - kStart).count();
}

struct RunArguments {
    ModelArguments model;
    GenerateOptions options;
    std::string kwargs;                              // of the chat template
    int64_t tokens = GenerateOptions().max_tokens;   // -1: until the end or a full context
    int64_t seed = GenerateOptions().sampling.seed;  // -1: another one each time
    std::string prompt;
    std::string system;
    bool chat = false;
    bool json = false;
};

struct Totals {
    Generated last;
    double first_token_seconds = 0;  // since the start of the process, less what a person took
    double typing_seconds = 0;
    int64_t prompt_tokens = 0, cached_tokens = 0, tokens = 0;
    double prefill_seconds = 0, decode_seconds = 0;
    double decoded = 0;  // tokens that decode_seconds are for

    void add(const Generated& g) {
        last = g;
        prompt_tokens += g.prompt_tokens;
        cached_tokens += g.cached_tokens;
        tokens += static_cast<int64_t>(g.tokens.size());
        prefill_seconds += g.prefill_seconds;
        decode_seconds += g.decode_seconds;
        decoded +=
            std::max(0.0, static_cast<double>(g.tokens.size()) - (g.stop == Stop::kEnd ? 0 : 1));
    }
};

double rate(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

nlohmann::ordered_json summary_json(const ModelInfo& info, const Totals& t) {
    return {{"model", info.name},
            {"backend", info.backend},
            {"device", info.device},
            {"arch", info.arch},
            {"compiler", info.compiler},
            {"context", info.context},
            {"text", t.last.text},
            {"tokens", t.last.tokens},
            {"stop", to_string(t.last.stop)},
            {"stop_string", t.last.stop_string},
            {"kernels_compiled", info.kernels_compiled},
            {"kernels_cached", info.kernels_cached},
            {"kernels_certified", info.kernels_certified},
            {"kernels_refused", info.kernels_refused},
            {"weights_repacked", info.weights_repacked},
            {"compile_seconds", info.compile_seconds},
            {"repack_seconds", info.repack_seconds},
            {"certify_seconds", info.certify_seconds},
            {"load_seconds", info.load_seconds},
            {"first_token_seconds", t.first_token_seconds},
            {"prompt_tokens", t.prompt_tokens},
            {"cached_tokens", t.cached_tokens},
            {"generated_tokens", t.tokens},
            {"prefill_tok_s", rate(static_cast<double>(t.prompt_tokens), t.prefill_seconds)},
            {"decode_tok_s", rate(t.decoded, t.decode_seconds)},
            {"memory_bytes", info.memory_bytes}};
}

std::string summary_text(const ModelInfo& info, const Totals& t) {
    return fmt::format(
        "kernels {} compiled, {} cached | compile {:.2f} s, {} {:.2f} s, load {:.2f} s, first "
        "token "
        "{:.3f} s | prefill {} tokens {:.1f} tok/s, decode {} tokens {:.1f} tok/s | memory {:.1f} "
        "MiB",
        info.kernels_compiled, info.kernels_cached, info.compile_seconds,
        info.weights_repacked ? "repack" : "map", info.repack_seconds, info.load_seconds,
        t.first_token_seconds, t.prompt_tokens,
        rate(static_cast<double>(t.prompt_tokens), t.prefill_seconds), t.tokens,
        rate(t.decoded, t.decode_seconds), static_cast<double>(info.memory_bytes) / (1 << 20));
}

// Prints as it arrives, unless the answer is JSON.
auto printer(const RunArguments& args, Totals& totals) {
    return [&args, &totals](std::string_view text) {
        if (totals.first_token_seconds == 0)
            totals.first_token_seconds = seconds_since_start() - totals.typing_seconds;
        // Text that nobody takes ends the generation; main() says why.
        if (!args.json && (!write_result(text) || !flush_results())) return false;
        return !interrupted();
    };
}

std::vector<Message> opening(const RunArguments& args) {
    std::vector<Message> messages;
    if (!args.system.empty()) messages.push_back({"system", args.system});
    return messages;
}

void run_once(const RunArguments& args, const Model& model, Totals& totals) {
    Sequence sequence = model.open();
    Generated g;
    if (args.chat) {
        warn_without_template(model);
        auto messages = opening(args);
        messages.push_back({"user", args.prompt});
        g = sequence.chat(messages, args.options, printer(args, totals), args.kwargs);
    } else {
        const std::vector<int32_t> tokens = model.tokenize(args.prompt);
        if (tokens.empty()) throw std::runtime_error("the prompt has no token");
        check_fits(tokens, model);
        if (!args.json) write_result(args.prompt);
        g = sequence.generate(tokens, args.options, printer(args, totals));
    }
    if (!args.json) write_result("\n");
    flush_results();  // before the statistics, where both go to one file
    totals.add(g);
}

// Takes back messages of the end of a conversation up to and with one of `role`; false if there is
// none.
bool take_back(std::vector<Message>& messages, std::string_view role) {
    for (size_t count = messages.size(); count > 0; --count)
        if (messages[count - 1].role == role) {
            messages.resize(count - 1);
            return true;
        }
    return false;
}

// "/word" alone, so that a path or a fraction in a question is no command.
bool is_command(std::string_view line) {
    return line.size() > 1 && line[0] == '/' &&
           std::ranges::all_of(line.substr(1), [](char c) { return c >= 'a' && c <= 'z'; });
}

// Turn by turn until the end of input. Ctrl-C stops an answer and keeps the conversation. False
// where a turn failed and nobody was at a terminal to see it.
bool converse(const RunArguments& args, const Model& model, Totals& totals) {
    // What a conversation cannot do without is missed now, and not behind the first question.
    model.tokenize("");
    Sequence sequence = model.open();
    warn_without_template(model);
    ChatInput input;
    bool failed = false;
    if (input.is_terminal())
        tell(
            "/exit or Ctrl-D ends; Ctrl-C stops an answer; /regen asks for another answer, /undo "
            "takes the last turn back, /reset starts anew.\n");
    auto messages = opening(args);
    GenerateOptions options = args.options;
    for (;;) {
        // Text that nobody takes ends the conversation; main() says why.
        if (!flush_results()) return true;  // close_results() says so
        expect_end();                       // while waiting for input, Ctrl-C ends the program
        const auto asked = Clock::now();
        const std::optional<std::string> line = input.next();
        if (!line || *line == "/exit") break;
        totals.typing_seconds += std::chrono::duration<double>(Clock::now() - asked).count();
        forget_interrupts();
        if (*line == "/reset") {
            messages = opening(args);
            sequence.reset();
            continue;
        }
        if (*line == "/undo") {
            if (!take_back(messages, "user")) tell("There is no turn to take back.\n");
            continue;
        }
        const auto before = messages;
        if (*line == "/regen") {
            if (options.sampling.temperature <= 0) {
                tell("At temperature 0 the answer would be the same; start with --temp 0.8.\n");
                continue;
            }
            if (!take_back(messages, "assistant")) {
                tell("There is no answer yet.\n");
                continue;
            }
            ++options.sampling.seed;  // or the draws would be the same
        } else if (is_command(*line)) {
            tell("{} is no command; there are /exit, /regen, /reset and /undo.\n", *line);
            continue;
        } else {
            messages.push_back({"user", *line});
        }
        try {
            const Generated g =
                sequence.chat(messages, options, printer(args, totals), args.kwargs);
            if (g.stop == Stop::kCancelled && g.tokens.empty()) {
                tell("The question was given up before its answer began.\n");
                messages = before;
                continue;
            }
            messages.push_back({"assistant", g.text});
            totals.add(g);
            if (!args.json && !write_result("\n")) return true;
            if (!flush_results()) return true;  // close_results() says so
            if (g.stop == Stop::kContext) tell("The context is full; /reset starts anew.\n");
            if (g.stop == Stop::kLength)
                tell("The answer was cut at {} tokens (-n).\n", g.tokens.size());
        } catch (const std::runtime_error& error) {
            tell("hetune: {}\n", with_option_names(error.what()));
            messages = before;
            failed = true;
        }
    }
    return !failed || input.is_terminal();
}

// What can be wrong with the options alone, before anything is loaded.
void check(RunArguments& args, bool has_prompt) {
    if (args.tokens == 0) throw UsageError("--tokens 0 generates nothing; -1 has no limit");
    args.options.max_tokens = args.tokens < 0 ? int64_t{1} << 30 : args.tokens;
    args.options.sampling.seed =
        args.seed < 0 ? std::random_device()() : static_cast<uint32_t>(args.seed);
    try {
        check_sampling(args.options.sampling);
    } catch (const std::runtime_error& error) {
        throw UsageError(error.what());
    }
    if (has_prompt && !args.chat && !args.system.empty())
        throw UsageError("--system is for a conversation; add --chat, or leave out -p");
}

int run(RunArguments& args, bool has_prompt) {
    check(args, has_prompt);
    const Model model = args.model.load();
    if (!args.model.quiet && !args.json) tell("{}\n", device_line(model.info()));
    args.options.cancelled = interrupted;
    // The first Ctrl-C ends a generation; one that comes when nothing is generated, the program.
    catch_interrupts({SIGINT}, ChatInput::restore);
    Totals totals;
    bool good = true;
    if (has_prompt)
        run_once(args, model, totals);
    else
        good = converse(args, model, totals);
    if (args.json)
        fmt::print("{}\n", summary_json(model.info(), totals)
                               .dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    else if (!args.model.quiet)
        tell("{}\n", summary_text(model.info(), totals));
    return good ? 0 : 1;
}

const RegisterCommand kRun{
    "run", "Generates text; without -p, a conversation", [](CLI::App& app) -> CommandBody {
        auto args = std::make_shared<RunArguments>();
        args->model.add_to(app);
        auto* prompt = app.add_option("-p,--prompt", args->prompt, "text to go on from");
        Sampling& s = args->options.sampling;
        app.add_option("-n,--tokens", args->tokens,
                       "most tokens to generate; -1: until the model ends or the context is full")
            ->check(whole_number(-1, 1 << 30))
            ->capture_default_str();
        app.add_option("--temp", s.temperature, "temperature; 0 takes the most likely token")
            ->check(decimal())
            ->capture_default_str();
        app.add_option("--top-k", s.top_k, "keep the K most likely tokens; 0: all")
            ->check(whole_number(0, 1 << 30, "0 keeps all"))
            ->capture_default_str();
        app.add_option("--top-p", s.top_p, "keep the most likely tokens until they hold this mass")
            ->check(decimal())
            ->capture_default_str();
        app.add_option("--min-p", s.min_p,
                       "keep tokens at least this likely, next to the likeliest")
            ->check(decimal())
            ->capture_default_str();
        app.add_option("--repeat-penalty", s.repeat_penalty,
                       "divides the logits of repeated tokens; 1: none")
            ->check(decimal())
            ->capture_default_str();
        app.add_option("--repeat-window", s.repeat_window, "tokens back that count as repeated")
            ->check(whole_number(0, 1 << 30))
            ->capture_default_str();
        app.add_option("--seed", args->seed, "of the draws; -1: another one each time")
            ->check(whole_number(-1, UINT32_MAX))
            ->capture_default_str();
        app.add_option("--stop", args->options.stop,
                       "text that ends the answer in front of it; may be given several times")
            ->allow_extra_args(false)
            ->check(not_empty());
        app.add_flag("--ignore-end", args->options.ignore_end,
                     "go on behind the model's end token");
        args->model.add_chat_template(app);
        app.add_option("--chat-template-kwargs", args->kwargs,
                       "more variables of the chat template, as {\"enable_thinking\": false}")
            ->check([](const std::string& text) -> std::string {
                try {
                    chat_variables(text);
                    return {};
                } catch (const std::runtime_error&) {
                    return fmt::format("'{}' is no JSON object", text);
                }
            });
        app.add_flag("--chat", args->chat, "put the prompt into the model's chat template");
        app.add_option("--system", args->system, "system message of a conversation");
        app.add_flag("--json", args->json, "one JSON object instead of text");
        app.add_flag("-q,--quiet", args->model.quiet, "the text alone");
        app.footer(
            "Example: hetune run model.gguf -p \"Once upon a time\" -n 64 --temp 0.8 --seed 1");
        return [args, prompt] { return run(*args, prompt->count() > 0); };
    }};

}  // namespace
}  // namespace hetune
