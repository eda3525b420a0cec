// hetune autotune: finds faster tunables for the kernels of a model, on this device.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>
#include <set>

#include "cache/tuning_store.h"
#include "kernel_templates/catalogue.h"
#include "planner/make_plan.h"
#include "planner/tuning_targets.h"
#include "runtime/trial/tuner.h"
#include "runtime/trial/tunings_for.h"
#include "tools/cache_commands.h"
#include "tools/chosen_arch.h"
#include "tools/interrupts.h"
#include "tools/json_output.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/report/report.h"
#include "tools/step_option.h"
#include "tools/terminal.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

// At least one template of the catalogue.
std::string template_check(const std::string& pattern) {
    const auto matches = [&](const TemplateInfo* info) {
        return matches_glob(pattern, info->name);
    };
    if (std::ranges::any_of(all_templates(), matches)) return {};
    std::string names;
    for (const TemplateInfo* info : all_templates())
        if (!info->tunables.empty()) names += (names.empty() ? "" : ", ") + info->name;
    return fmt::format("no kernel has the name '{}'; there are {}", pattern, names);
}

struct AutotuneArguments {
    std::string file, arch, backend, compiler, phase, budget, report;
    std::string kernel = "*", strategy = "successive-halving", weights = "model",
                activations = "q8", kv = "f16";
    std::vector<int> rows;
    int64_t context = 0;
    uint64_t seed = 0;
    int jobs = 0;
    bool again = false, kernels_only = false, json = false, allow_unused = false;
};

// The device to time on; nullptr: it is of another arch than the one asked for, or there is none.
std::unique_ptr<Device> device_for(const AutotuneArguments& args) {
    if (args.arch.empty()) return open_device(args.backend);
    const Arch& arch = find_arch(args.arch);
    for (const ListedDevice& listed : list_devices(args.backend).devices)
        if (listed.found.unusable.empty() && listed.found.arch == arch.name)
            return listed.backend->open(listed.found.ordinal);
    return nullptr;
}

std::string box_name() {
    char name[256] = {};
    gethostname(name, sizeof name - 1);
    return content_hash(name, std::char_traits<char>::length(name)).hex().substr(0, 8);
}

// Steps that decode come before those of prompts, and of these the smallest first.
std::vector<StepKind> kinds_of(const AutotuneArguments& args, const Arch& arch) {
    if (args.rows.empty()) {
        if (args.phase == "decode") return {kDecodeStep};
        const StepKind prompt{.rows = arch.prefill_rows};
        if (args.phase == "prefill") return {prompt};
        return {kDecodeStep, prompt};
    }
    std::vector<int> rows = args.rows;
    std::ranges::sort(rows);
    rows.erase(std::ranges::unique(rows).begin(), rows.end());
    std::vector<StepKind> kinds;
    for (const int count : rows)
        kinds.push_back(args.phase == "prefill" ? StepKind{.rows = count}
                                                : decode_step(count).value());
    return kinds;
}

// Long enough that attention is not tuned for contexts that are over in a second: with 512 tokens
// an H200 chose 4 splits, and was four times as slow at 32768.
constexpr int64_t kContext = 8192, kCpuContext = 512;
// The least context of each sequence where a step has several, so that all fit beside the weights.
constexpr int64_t kLeastBatchContext = 512, kLeastCpuBatchContext = 64;

int64_t context_of(const AutotuneArguments& args, const Arch& arch) {
    if (args.context > 0) return args.context;
    int64_t context = arch.on_host ? kCpuContext : kContext;
    for (const StepKind& kind : kinds_of(args, arch))
        if (kind.sequences == 1) context = std::max<int64_t>(context, kind.rows);
    return context;
}

int64_t batch_context_of(const AutotuneArguments& args, const Arch& arch) {
    if (args.context > 0) return args.context;
    int most = 1;
    for (const StepKind& kind : kinds_of(args, arch)) most = std::max(most, kind.sequences);
    return std::max(arch.on_host ? kLeastCpuBatchContext : kLeastBatchContext,
                    (arch.on_host ? kCpuContext : kContext) / most);
}

TuneOptions tune_options(const AutotuneArguments& args, const Arch& arch, const Device* device,
                         Progress& progress, std::chrono::steady_clock::time_point started) {
    TuneOptions options{.kinds = kinds_of(args, arch),
                        .kernels = args.kernel,
                        .budget_seconds = args.budget.empty() ? 0 : parse_seconds(args.budget),
                        .started = started,
                        .strategy = args.strategy,
                        .memory = {.context = context_of(args, arch),
                                   .batch_context = batch_context_of(args, arch),
                                   .synthetic = args.weights == "synthetic",
                                   .seed = args.seed},
                        .again = args.again,
                        .whole_plan = !args.kernels_only};
    options.plan.activations =
        args.activations == "f32" ? Activations::kFloat : Activations::kQuantised;
    options.plan.kv = kv_type(args.kv);
    options.plan.matrix = arch.has_matrix;
    options.origin = {{"box", box_name()}, {"hetune", HETUNE_VERSION}};
    if (device != nullptr) options.origin["driver"] = device->info().driver;
    options.stop = interrupted;
    options.progress = [&progress](const TuneProgress& p) {
        progress.update(p.stage, p.done, p.total, p.seconds_left);
    };
    return options;
}

// True: the shape counts here. A shape that a step before has counts there.
bool is_own(const TunedKernel& kernel) { return kernel.source != "shared"; }

// Of default over chosen time, launches not counted: a shape is a shape.
double geometric_mean_gain(const TuneResult& result) {
    double sum = 0;
    int count = 0;
    for (const TunedKernel& kernel : result.kernels)
        if (kernel.record.us > 0 && is_own(kernel)) {
            sum += std::log(kernel.record.default_us / kernel.record.us);
            ++count;
        }
    return count > 0 ? std::exp(sum / count) : 1;
}

// What the launches of all shapes of this many rows take, by their default and by the chosen one.
std::pair<double, double> sums_of(const TuneResult& result) {
    double before = 0, after = 0;
    for (const TunedKernel& kernel : result.kernels) {
        if (!is_own(kernel)) continue;
        before += kernel.launches * kernel.record.default_us;
        after += kernel.launches * kernel.record.us;
    }
    return {before, after};
}

Json result_json(const AutotuneArguments& args, const Arch& arch, const std::string& device,
                 const std::string& compiler, const TuneResult& result) {
    Json kernels = Json::array(), plans = Json::array();
    for (const TunedKernel& kernel : result.kernels) {
        Json one = {{"label", kernel.label},
                    {"rows", kernel.rows},
                    {"sequences", kernel.sequences},
                    {"launches", kernel.launches},
                    {"source", kernel.source}};
        one["id"] = kernel.record.key.hash().hex();
        const Json record = to_json(kernel.record);  // items() does not keep a temporary
        for (const auto& [name, value] : record.items()) one[name] = value;
        kernels.push_back(std::move(one));
    }
    for (const TunedPlan& plan : result.plans) {
        Json variants = Json::array();
        for (const TuningTrial& variant : plan.variants) variants.push_back(to_json(variant));
        plans.push_back({{"rows", plan.rows},
                         {"sequences", plan.sequences},
                         {"default_us", plan.default_us},
                         {"us", plan.tuned_us},
                         {"noise_us", plan.noise_us},
                         {"without", plan.without},
                         {"checked_with", plan.checked_with},
                         {"default_kl", plan.default_kl},
                         {"kl", plan.tuned_kl},
                         {"variants", std::move(variants)}});
    }
    return {{"model", args.file},
            {"arch", arch.name},
            {"device", device},
            {"compiler", compiler},
            {"measured", result.measured},
            {"strategy", args.strategy},
            {"weights", args.weights},
            {"context", context_of(args, arch)},
            {"batch_context", batch_context_of(args, arch)},
            {"seconds", result.seconds},
            {"stopped", result.stopped},
            {"geometric_mean_gain", geometric_mean_gain(result)},
            {"notes", result.notes},
            {"kernels", std::move(kernels)},
            {"plans", std::move(plans)}};
}

void print_result(const TuneResult& result) {
    // Without a device all times are the cost model's.
    const std::string kind = result.measured ? "" : "predicted ";
    fmt::print("{:<18} {:>4} {:<22} {:<22} {:>{}} {:>{}} {:>7}  {}\n", "kernel", "rows", "default",
               "chosen", kind + "default us", 10 + kind.size(), kind + "us", 10 + kind.size(),
               "gain", "step");
    for (const TunedKernel& k : result.kernels) {
        const TuningRecord& r = k.record;
        const int rows = std::max(k.rows, k.sequences);
        if (k.source == "stopped") {
            fmt::print("{:<18} {:>4} {:<22} stopped before it was its turn; {}\n", r.key.kernel,
                       rows, to_string(r.default_point), k.label);
            continue;
        }
        fmt::print("{:<18} {:>4} {:<22} {:<22} {:>{}.2f} {:>{}.2f} {:>6.2f}x  {} x{}{}\n",
                   r.key.kernel, rows, to_string(r.default_point), to_string(r.point), r.default_us,
                   10 + kind.size(), r.us, 10 + kind.size(), r.us > 0 ? r.default_us / r.us : 0,
                   k.label, k.launches,
                   k.source == "stored"   ? " (from an earlier sweep)"
                   : k.source == "shared" ? " (as in a step before)"
                   : k.source == "ranked" ? " (ranked by the static model, not measured)"
                                          : "");
    }
    const auto [before, after] = sums_of(result);
    if (before > 0)  // else nothing has a time
        fmt::print(
            "{} shapes, {}{:.2f}x in the geometric mean; all their launches {}{:.1f} us, by "
            "default "
            "{:.1f} us\n",
            std::ranges::count_if(result.kernels, is_own), kind, geometric_mean_gain(result), kind,
            after, before);
    for (const TunedPlan& plan : result.plans)
        fmt::print(
            "whole plan, {} {}{}: {:.1f} us +- {:.1f}, by default {:.1f} us ({:.2f}x){}; logits "
            "{:.2g} (KL) from the {}\n",
            plan.rows, plan.sequences == 1 ? "row" : "sequence", plan.rows == 1 ? "" : "s",
            plan.tuned_us, plan.noise_us, plan.default_us,
            plan.tuned_us > 0 ? plan.default_us / plan.tuned_us : 0,
            plan.without.empty() ? "" : fmt::format(", without {}", fmt::join(plan.without, ", ")),
            plan.tuned_kl, plan.checked_with);
    for (const std::string& note : result.notes) fmt::print("note: {}\n", note);
    if (result.stopped) fmt::print("stopped; the same command goes on where it was\n");
}

void write_tune_report(const AutotuneArguments& args, const Arch& arch, KernelLibrary* library,
                       const ModelFile& file, const CacheOptions& cache, const Json& result,
                       const std::string& device, OutputFile& page) {
    Json plans = Json::array();
    const LayerGraph graph = build_layer_graph(file);
    const auto records = stored_records(cache, arch.name);
    const auto disassembler = find_disassembler(read_environment());
    for (const StepKind& kind : kinds_of(args, arch)) {
        PlanOptions options = with_kind({.matrix = arch.has_matrix}, kind);
        const std::string compiler = library != nullptr ? library->compiler().identity() : "";
        options.tunings = tunings_for(records, arch, device, compiler, TuneUse::kMeasured).tunings;
        plans.push_back(
            plan_report(make_plan(graph, file, arch, options), arch,
                        kind.sequences > 1 ? batch_context_of(args, arch) : context_of(args, arch),
                        records, library, disassembler.get()));
    }
    write_report(
        {{"title", "hetune autotune: " + graph.name},
         {"subtitle", device.empty() ? arch.name + ", no device: ranked by the static model"
                                     : device + " (" + arch.name + ")"},
         {"plans", std::move(plans)},
         {"autotune", result}},
        page);
}

// Before anything is compiled or timed: the templates that are asked for are in the plans, and have
// something to tune.
void check_kernels(const AutotuneArguments& args, const LayerGraph& graph, const ModelFile& file,
                   const Arch& arch, const PlanOptions& options, int64_t context) {
    if (args.kernel == "*") return;
    std::set<std::string> tunable;
    for (const StepKind& kind : kinds_of(args, arch))
        for (const TuningTarget& target :
             tuning_targets(graph, file, arch, with_kind(options, kind), context,
                            [](const std::string&) { return true; }))
            tunable.insert(target.shape.kernel.name);
    const auto matches = [&](const std::string& name) { return matches_glob(args.kernel, name); };
    if (std::ranges::any_of(tunable, matches)) return;
    throw UsageError(fmt::format(
        "--kernel '{}': {} on {} has no such kernel to tune{}; it has {}", args.kernel, args.file,
        arch.name, args.rows.empty() && args.phase.empty() ? "" : " in steps of so many rows",
        fmt::join(tunable, ", ")));
}

int run(const AutotuneArguments& args) {
    const auto started = std::chrono::steady_clock::now();
    if (args.phase != "prefill")
        for (const int rows : args.rows) decode_step_option(rows, "--phase prefill");
    catch_interrupts({SIGINT, SIGTERM});
    // Opened before the sweep: a file that cannot be written is said at once.
    std::optional<OutputFile> page;
    if (!args.report.empty()) page.emplace(args.report);
    const CacheOptions cache = cache_options();
    const auto device = device_for(args);
    const Arch arch = device != nullptr ? device->arch() : find_arch(args.arch);
    const bool header = device == nullptr || args.weights == "synthetic";
    const ModelFile file(args.file,
                         header ? ModelFile::Open::kHeaderOnly : ModelFile::Open::kWhole);
    check_all_used(file, build_layer_graph(file), args.allow_unused);
    Progress progress;
    TuneOptions options = tune_options(args, arch, device.get(), progress, started);
    for (const StepKind& kind : options.kinds)
        if (kind.sequences == 1 && kind.rows > options.memory.context)
            throw UsageError(fmt::format(
                "{} rows need a context of as many tokens: give --ctx {} or more, it is {}",
                kind.rows, kind.rows, options.memory.context));
    check_kernels(args, build_layer_graph(file), file, arch, options.plan, options.memory.context);
    if (args.arch.empty() && !args.json) tell_chosen_arch(*device, args.backend);
    CodeStore codes(cache);
    std::optional<KernelLibrary> library;
    try {
        library.emplace(arch, codes, read_environment(), args.compiler, args.jobs);
    } catch (const CompileError& error) {
        // Without a device the model ranks what the templates say of themselves.
        if (device != nullptr || !args.compiler.empty()) throw;
        tell("hetune: ranked without compiling: {}\n", error.what());
    }
    const CacheFolder folder(cache);
    TuningStore store(folder);
    std::optional<TileStore> tiles;
    if (!header) tiles.emplace(cache);

    if (library)
        library->when_compiled([&](const KernelSpec& spec) { progress.compiled(spec.name); });
    Tuner tuner(arch, device.get(), library ? &*library : nullptr, store, file,
                tiles ? &*tiles : nullptr, std::move(options));
    const TuneResult result = tuner.run();
    const std::string name = device != nullptr ? device->info().name : "";
    const Json json =
        result_json(args, arch, name, library ? library->compiler().identity() : "", result);
    if (page)
        write_tune_report(args, arch, library ? &*library : nullptr, file, cache, json, name,
                          *page);
    if (args.json)
        fmt::print("{}\n", json_text(json));
    else
        print_result(result);
    return interrupted_status(0);
}

const RegisterCommand kAutotune{
    "autotune", "Finds faster tunables for a model's kernels on this device, and keeps them",
    [](CLI::App& app) {
        auto args = std::make_shared<AutotuneArguments>();
        std::string known;
        std::vector<std::string> strategy_names;
        for (const Strategy& strategy : strategies()) {
            strategy_names.emplace_back(strategy.name);
            known +=
                fmt::format("{}{}: {}", known.empty() ? "" : "; ", strategy.name, strategy.what);
        }
        app.add_option(
               "FILE", args->file,
               "GGUF model; its header will do without a device, or with --weights synthetic")
            ->check(not_empty())
            ->required();
        app.add_option("--arch", args->arch,
                       "without a device of this arch: ranked by the static model; default: that "
                       "of this machine")
            ->check(arch_option());
        app.add_option("--backend", args->backend, "hip, cuda or cpu; default: the best there is")
            ->check(backend_option());
        app.add_option("--compiler", args->compiler,
                       "hiprtc, comgr, clang or nvrtc; default: the best there is")
            ->check(compiler_option());
        app.add_option("--kernel", args->kernel, "only templates of these names, with * and ?")
            ->check(template_check)
            ->capture_default_str();
        app.add_option("--budget", args->budget,
                       "stop after this time, compiling included: 90s, 3m, 1h; default: none")
            ->check(time_option());
        app.add_option("--strategy", args->strategy, known)
            ->check(one_of(strategy_names))
            ->capture_default_str();
        app.add_option("--rows", args->rows,
                       "rows of the steps: sequences that decode in one, as 1,2,4,8, or with "
                       "--phase prefill tokens of a prompt; default: 1, and a prompt's of `run`")
            ->delimiter(',')
            ->allow_extra_args(false)
            ->check(whole_number(1, 4096));
        app.add_option("--phase", args->phase,
                       "decode or prefill; default: both, or with --rows decode")
            ->check(one_of({"decode", "prefill"}));
        app.add_option("-c,--ctx", args->context,
                       "tokens in the context of each sequence of the steps that are timed; "
                       "default: 8192, on the CPU 512, of which several sequences have a share")
            ->check(whole_number(1, 1 << 30));
        app.add_option("--weights", args->weights,
                       "model, or synthetic: random ones of the same shapes")
            ->check(one_of({"model", "synthetic"}))
            ->capture_default_str();
        app.add_option("--seed", args->seed, "of synthetic weights")
            ->check(whole_number(0, INT64_MAX))
            ->capture_default_str();
        app.add_option("--activations", args->activations, "q8 or f32")
            ->check(one_of({"q8", "f32"}))
            ->capture_default_str();
        app.add_option("--kv", args->kv, "f16, bf16, f32 or q8")
            ->check(one_of(kv_type_names()))
            ->capture_default_str();
        app.add_option("-j,--jobs", args->jobs, "compilers at once; default: one per core")
            ->check(whole_number(1, 1024));
        add_allow_unused(app, args->allow_unused);
        app.add_flag("--again", args->again,
                     "also shapes that have a result of this device and compiler");
        app.add_flag("--kernels-only", args->kernels_only,
                     "leave out the choice between fused and unfused variants");
        app.add_option("--report", args->report,
                       "also write a page with plots of all of it: one HTML file")
            ->check(not_empty());
        app.add_flag("--json", args->json, "print JSON");
        app.footer(
            "Each candidate is checked against the default before it is timed, and wins only "
            "beyond the noise.\n"
            "Results are kept as they come: after Ctrl-C or a kill the same command goes on where "
            "it was.\n"
            "`hetune tune` lists and moves them. Exit code 130 after Ctrl-C; a second Ctrl-C ends "
            "at once.\n\n"
            "Examples:\n  hetune autotune model.gguf --budget 3m --report tuned.html\n"
            "  hetune autotune model.gguf --phase decode --kernel 'gemv*'\n"
            "  hetune autotune model.gguf --rows 1,8,64\n"
            "  hetune autotune model.gguf --arch gfx1100");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
