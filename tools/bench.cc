// hetune bench: speed of a model here, beside what this device can read and multiply.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>

#include "cache/temp_file.h"
#include "runtime/api/model_host.h"
#include "tools/bench_parallel.h"
#include "tools/bench_report.h"
#include "tools/budget.h"
#include "tools/command.h"
#include "tools/interrupts.h"
#include "tools/memory_report.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/terminal.h"

namespace hetune {
namespace {

struct BenchArguments {
    ModelArguments model;
    std::vector<int64_t> prompts = {512};
    std::vector<int64_t> tokens = {128};
    std::vector<int64_t> depths = {0};
    std::vector<int64_t> parallel;  // numbers of sequences; empty: one after another
    int repeats = 5;
    std::string budget;
    bool steps = false;
    bool no_rates = false;
    bool json = false;
    std::string output = "text";
    std::string save;  // PREFIX of files, one in each format
};

// Generations before prompts, as a generation costs less to prepare.
std::vector<BenchCase> cases_of(const BenchArguments& args) {
    std::vector<int64_t> depths = args.depths;
    std::ranges::sort(depths);
    std::vector<BenchCase> cases;
    for (const int64_t depth : depths) {
        for (const int64_t tokens : args.tokens)
            if (tokens > 0) cases.push_back({true, tokens, depth});
        for (const int64_t tokens : args.prompts)
            if (tokens > 0) cases.push_back({false, tokens, depth});
    }
    if (cases.empty())
        throw UsageError("nothing to measure: --prompt or --tokens must have a number above 0");
    return cases;
}

// The format with the most bytes of the file.
std::string main_format(const ModelFile& file) {
    std::map<std::string, int64_t> bytes;
    for (const Tensor& tensor : file.tensors()) bytes[tensor.type_name()] += tensor.bytes();
    const auto most =
        std::ranges::max_element(bytes, {}, [](const auto& entry) { return entry.second; });
    return most == bytes.end() ? "" : most->first;
}

// A long run says how far it is; the report comes at its end.
void print_progress(const BenchResult& result) {
    if (result.left_out.empty())
        tell("{}: {:.2f} tok/s\n", result.what.name(), result.tokens_per_second.median);
    else
        tell("{}: left out, {}\n", result.what.name(), result.left_out);
}

// The files of --save, one for each format. Opened before the model is loaded: a file that cannot
// be written is said at once.
std::vector<OutputFile> saved_files(const BenchArguments& args) {
    std::vector<OutputFile> files;
    if (!args.save.empty())
        for (const BenchFormat& format : bench_formats())
            files.emplace_back(fmt::format("{}.{}", args.save, format.suffix));
    return files;
}

// The longest of the prompts and answers, for each number of sequences.
int run_parallel(BenchArguments& args) {
    const auto longest = [](const std::vector<int64_t>& list) {
        return list.empty() ? 0 : *std::ranges::max_element(list);
    };
    const int64_t prompt = std::max<int64_t>(longest(args.prompts), 1);
    const int64_t tokens = std::max<int64_t>(longest(args.tokens), 2);
    const int64_t needed = prompt + tokens + 2;
    if (args.model.options.context == 0) args.model.options.context = needed;
    if (args.model.options.context < needed)
        throw UsageError(fmt::format("--ctx {} is too little for these tests; they need {}",
                                     args.model.options.context, needed));
    args.model.options.parallel = static_cast<int>(longest(args.parallel));
    args.model.options.prefix_cache = false;  // prompts are measured
    catch_interrupts({SIGINT, SIGTERM});
    const Budget budget(args.budget);
    args.model.options.cancelled = [&] { return budget.over(); };
    const std::shared_ptr<ModelHost> model = args.model.load_host();
    if (!args.json)
        fmt::print("{} on {}, {}\n{}", model->info.name, model->info.device, model->info.compiler,
                   model->loaded ? memory_text(model->loaded->memory()) : "");
    const auto results = measure_parallel(
        *model, args.parallel, prompt, tokens, budget, [](const ParallelResult& result) {
            if (result.left_out.empty())
                tell("{} sequences: {:.1f} tok/s\n", result.sequences, result.tokens_per_second);
        });
    fmt::print("{}", args.json ? parallel_json(results) : parallel_table(results));
    return interrupted_status(0);
}

int run(BenchArguments& args) {
    if (!args.parallel.empty()) return run_parallel(args);
    const std::vector<BenchCase> cases = cases_of(args);
    int64_t needed = 0;
    for (const BenchCase& c : cases) needed = std::max(needed, c.depth + c.tokens + 2);
    if (args.model.options.context == 0) args.model.options.context = needed;
    if (args.model.options.context < needed)
        throw UsageError(fmt::format("--ctx {} is too little for these tests; they need {}",
                                     args.model.options.context, needed));
    if (args.model.options.backend == "reference")
        throw UsageError("--backend reference is the oracle and nothing to measure; name another");
    catch_interrupts({SIGINT, SIGTERM});
    const Budget budget(args.budget);
    std::vector<OutputFile> files = saved_files(args);
    const auto over = [&] { return budget.over(); };
    std::shared_ptr<ModelHost> model;
    try {
        args.model.options.cancelled = over;
        args.model.options.prefix_cache = false;  // prompts are measured
        model = args.model.load_host();
    } catch (const LoadCancelled& error) {
        tell("hetune: bench: {}nothing was measured: {}\n",
             interrupted() ? "" : fmt::format("--budget {} was over and ", args.budget),
             error.what());
        return interrupted_status(1);
    }
    model->library->give_up_when(over);
    BenchReport report;
    report.model = model->info;
    report.driver = model->device->info().driver;
    report.quant = main_format(model->file);
    report.kv = args.model.options.kv_type;
    report.activations = args.model.activations;
    report.repeats = args.repeats;
    report.command = command_line();
    report.rates.matrix_how = "not measured (--no-rates)";
    if (!args.no_rates)
        model->scheduler->run(
            [&](Engine&) { report.rates = measure_rates(*model->device, *model->library, over); });
    report.results = measure_cases(model, cases, args.repeats, budget,
                                   [](const BenchResult& result) { print_progress(result); });
    if (args.steps)
        for (const bool prompt : {false, true})
            if (std::ranges::find(cases, !prompt, &BenchCase::decode) != cases.end())
                (prompt ? report.prompt_kernels : report.kernels) =
                    measure_kernels(*model, prompt, cases.front().depth, report.rates, budget);
    report.device_bytes = model->info.memory_bytes;
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    report.host_peak_bytes = int64_t{usage.ru_maxrss} * 1024;
    const std::string format = args.json ? "json" : args.output;
    fmt::print("{}", std::ranges::find(bench_formats(), format, &BenchFormat::name)->write(report));
    for (size_t i = 0; i < files.size(); ++i) {
        files[i].write(bench_formats()[i].write(report));
        files[i].commit();
    }
    return interrupted_status(0);
}

const RegisterCommand kBench{
    "bench", "Measures prompts and generation, beside what the device can do", [](CLI::App& app) {
        auto args = std::make_shared<BenchArguments>();
        args->model.add_to(app);
        const auto count = whole_number(0, 1 << 30);
        app.add_option("-p,--prompt", args->prompts,
                       "tokens of prompts (pp512), as 512,4096; 0: none")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->check(count)
            ->capture_default_str();
        app.add_option("-n,--tokens", args->tokens, "tokens to generate (tg128), as 128; 0: none")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->check(count)
            ->capture_default_str();
        app.add_option("-d,--depth", args->depths, "tokens of context before each test, as 0,32768")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->check(count)
            ->capture_default_str();
        app.add_option("--parallel", args->parallel,
                       "instead: so many sequences at the same time, as 1,2,4,8: time of all "
                       "prompts, tokens of all together")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->check(whole_number(1, kMostSequences));
        app.add_option("-r,--repeat", args->repeats, "runs of each test, behind one to warm up")
            ->check(whole_number(1, 1000))
            ->capture_default_str();
        app.add_option(
               "--budget", args->budget,
               "stop after this time, the load included, and leave out tests that would not "
               "end within it: 90s, 3m, 1h")
            ->check(time_option());
        app.add_flag(
            "--steps", args->steps,
            "also the time of every kernel of a token and of a prompt's step, at the least depth");
        app.add_flag("--no-rates", args->no_rates, "do not measure the device's own rates");
        std::vector<std::string> formats;
        for (const BenchFormat& format : bench_formats()) formats.push_back(format.name);
        app.add_option("-o,--output", args->output, fmt::format("{}", fmt::join(formats, ", ")))
            ->check(one_of(formats))
            ->capture_default_str();
        app.add_flag("--json", args->json, "as --output json");
        app.add_option("--save", args->save,
                       "also write PREFIX.txt, PREFIX.md, PREFIX.csv and PREFIX.json")
            ->check(not_empty());
        app.footer(
            "GB/s counts the bytes of weights, KV cache and activations of the plan, TFLOP/s its "
            "operations,\n"
            "attention included; both beside rates measured here. \"host us\" is the processor "
            "time that a token\n"
            "costs its caller, waiting excluded; \"process\" that of all threads, of the time that "
            "passed. A kernel\n"
            "alone is timed with its launch.\n\n"
            "Example:\n  hetune bench model.gguf -p 512,4096 -n 128 -d 0,32768 --steps");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
