// hetune batch: answers the requests of a file, many at a time.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <optional>

#include "runtime/api/model_host.h"
#include "runtime/load/model_plans.h"
#include "tools/batch/answer_file.h"
#include "tools/batch/request_file.h"
#include "tools/batch/run_requests.h"
#include "tools/command.h"
#include "tools/interrupts.h"
#include "tools/json_output.h"
#include "tools/memory_report.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/shard.h"
#include "tools/terminal.h"

namespace hetune {
namespace {

struct BatchArguments {
    ModelArguments model;
    std::string requests, output;
    std::string shard = "1/1";
    int parallel = 8;
    int64_t limit = 0;  // 0: none
    bool json = false;
};

// What this process is to do, and what has become of it.
struct BatchPlan {
    size_t requests = 0;        // of the shard, within the limit
    int64_t failed_before = 0;  // answers of the output that are errors
    std::vector<const RequestLine*> pending;
    BatchTotals totals;
    double seconds = 0;
    std::optional<MemoryNeeds> memory;  // of the loaded model; the oracle has none

    size_t answered_before() const { return requests - pending.size(); }
    size_t answered() const { return answered_before() + static_cast<size_t>(totals.answered); }
    int64_t failed() const { return failed_before + totals.failed; }
    double tokens_per_second() const {
        return seconds > 0 ? static_cast<double>(totals.generated_tokens) / seconds : 0;
    }
};

BatchPlan plan_batch(const BatchArguments& args, const RequestFile& file,
                     const AnswerFile& answers) {
    const Shard shard = parse_shard(args.shard);
    BatchPlan plan;
    for (const RequestLine& line : file.lines()) {
        if (!shard.holds(static_cast<uint64_t>(line.number - 1))) continue;
        if (args.limit > 0 && plan.requests == static_cast<size_t>(args.limit)) break;
        ++plan.requests;
        const auto found = answers.found().find(line.custom_id);
        if (found == answers.found().end())
            plan.pending.push_back(&line);
        else if (!found->second)
            ++plan.failed_before;
    }
    return plan;
}

void check_files(const BatchArguments& args) {
    if (args.output == "-")
        throw UsageError(
            "-o must be a file, which a later batch can go on with; /dev/stdout is "
            "stdout");
    std::error_code none;
    if (std::filesystem::equivalent(args.requests, args.output, none))
        throw UsageError(fmt::format("-o {} is the file of requests itself", args.output));
}

// A wrong file of an earlier batch, or the wrong requests.
void warn_of_strangers(const BatchArguments& args, const RequestFile& file,
                       const AnswerFile& answers) {
    const auto strangers = std::ranges::count_if(
        answers.found(), [&](const auto& found) { return !file.has(found.first); });
    if (strangers > 0)
        tell("hetune: warning: {}: {} of its answers belong to no request of {}\n", args.output,
             strangers, args.requests);
}

void tell_how_to_go_on(const BatchArguments& args, const BatchPlan& plan) {
    tell(
        "hetune: batch: {} of {} requests are answered in {}; the same command goes on from "
        "there\n",
        plan.answered(), plan.requests, args.output);
}

void answer_pending(BatchArguments& args, const RequestFile& file, AnswerFile& answers,
                    BatchPlan& plan) {
    catch_interrupts({SIGINT, SIGTERM});
    ModelOptions& options = args.model.options;
    options.cancelled = interrupted;
    options.parallel = args.parallel;
    const std::shared_ptr<ModelHost> host = args.model.load_host();
    const Model model(host);
    if (host->loaded) plan.memory = host->loaded->memory();
    if (!args.model.quiet && !args.json) {
        tell("{}\n", device_line(model.info()));
        if (plan.memory) tell("{}", memory_text(*plan.memory));
    }
    if (file.has_chats()) warn_without_template(model);
    Progress progress;
    const auto report = [&](const BatchProgress& p) {
        plan.seconds = p.seconds;
        if (args.model.quiet) return;
        progress.update("batch", plan.answered_before() + p.done, plan.requests, -1,
                        fmt::format("{:.1f} tok/s", static_cast<double>(p.tokens) / p.seconds));
    };
    run_requests(model, file, plan.pending, answers, args.parallel, plan.totals, report);
}

nlohmann::ordered_json summary_json(const BatchArguments& args, const BatchPlan& plan) {
    nlohmann::ordered_json json = {{"requests", plan.requests},
                                   {"answered_before", plan.answered_before()},
                                   {"answered", plan.totals.answered},
                                   {"failed", plan.failed()},
                                   {"left", plan.requests - plan.answered()},
                                   {"prompt_tokens", plan.totals.prompt_tokens},
                                   {"generated_tokens", plan.totals.generated_tokens},
                                   {"seconds", plan.seconds},
                                   {"tok_s", plan.tokens_per_second()},
                                   {"output", args.output}};
    if (plan.memory) json["memory"] = memory_json(*plan.memory);
    return json;
}

std::string summary_text(const BatchPlan& plan) {
    return fmt::format(
        "requests {}: {} answered before, {} now, {} left, {} failed | prompt {} tokens, generated "
        "{} tokens in {:.1f} s, {:.1f} tok/s",
        plan.requests, plan.answered_before(), plan.totals.answered,
        plan.requests - plan.answered(), plan.failed(), plan.totals.prompt_tokens,
        plan.totals.generated_tokens, plan.seconds, plan.tokens_per_second());
}

int run(BatchArguments& args) {
    check_files(args);
    parse_shard(args.shard);
    const RequestFile file(args.requests);
    AnswerFile answers(args.output);
    warn_of_strangers(args, file, answers);
    BatchPlan plan = plan_batch(args, file, answers);
    if (!plan.pending.empty()) try {
            answer_pending(args, file, answers, plan);
            answers.finish();
        } catch (const LoadCancelled&) {
        } catch (...) {
            if (plan.totals.answered > 0) tell_how_to_go_on(args, plan);
            throw;
        }
    const bool complete = plan.answered() == plan.requests;
    if (plan.totals.failed > 0)
        tell("hetune: batch: {} of {} requests failed; the first, {}\n", plan.failed(),
             plan.requests, plan.totals.first_failure);
    if (args.json)
        fmt::print("{}\n", json_text(summary_json(args, plan)));
    else if (!args.model.quiet)
        tell("{}\n", summary_text(plan));
    if (!complete) {
        tell_how_to_go_on(args, plan);
        return interrupted_status(1);
    }
    return plan.failed() > 0 ? 1 : 0;
}

const RegisterCommand kBatch{
    "batch", "Answers the requests of a file in OpenAI's batch format", [](CLI::App& app) {
        auto args = std::make_shared<BatchArguments>();
        args->model.add_to(app);
        app.add_option("REQUESTS", args->requests,
                       "file with a request a line, as OpenAI's batches have; -: stdin")
            ->check(not_empty())
            ->required();
        app.add_option(
               "-o,--output", args->output,
               "answers, appended as they are complete; requests answered there are skipped")
            ->check(not_empty())
            ->required();
        app.add_option("--parallel", args->parallel, "requests at a time")
            ->check(whole_number(1, kMostSequences))
            ->capture_default_str();
        app.add_option("--shard", args->shard,
                       "only part I of N, as 2/4: line K belongs to part (K - 1) mod N + 1")
            ->capture_default_str();
        app.add_option("--limit", args->limit, "only the first requests of the part, so many")
            ->check(whole_number(1, int64_t{1} << 40));
        args->model.add_chat_template(app);
        app.add_flag("--json", args->json, "a summary as JSON on stdout");
        app.add_flag("-q,--quiet", args->model.quiet, "no progress and no summary");
        app.footer(
            "Defaults of a request are OpenAI's: temperature 1, top_p 1, n 1; a chat ends where "
            "the model or\n"
            "the context does, a completion behind 16 tokens. top_k and min_p cut nothing unless "
            "the request\n"
            "says so. Without a seed, a request has one that follows from its custom_id.\n\n"
            "A batch that was killed or interrupted goes on with the same command. Exit code 0: "
            "all requests\n"
            "are answered; 1: some have an error for an answer; 130: interrupted "
            "(docs/batch.md).\n\n"
            "Examples:\n"
            "  hetune batch model.gguf requests.jsonl -o answers.jsonl --parallel 16\n"
            "  hetune batch model.gguf requests.jsonl -o answers.2.jsonl --shard 2/4");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
