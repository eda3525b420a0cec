// hetune plan: which kernels would run a model on an arch, without a GPU and without the weights.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "planner/fusion/fuse.h"
#include "planner/fusion/graph_text.h"
#include "planner/make_plan.h"
#include "planner/plan/arch.h"
#include "runtime/api/hetune.h"
#include "runtime/device/device.h"
#include "runtime/load/memory.h"
#include "runtime/load/model_plans.h"
#include "runtime/trial/tunings_for.h"
#include "tools/cache_commands.h"
#include "tools/chosen_arch.h"
#include "tools/command.h"
#include "tools/json_output.h"
#include "tools/memory_report.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/plan_kernels.h"
#include "tools/report/report.h"
#include "tools/step_option.h"
#include "tools/terminal.h"

namespace hetune {
namespace {

struct PlanArguments {
    std::string file;
    std::string arch;
    std::string compiler;
    int rows = 0;
    bool prefill = false;
    int64_t context = 0;
    int parallel = 1;
    std::string fusion = "on";
    std::string activations = "q8";
    std::string kv = "f16";
    int jobs = 0;
    bool json = false, operations = false;
    bool resources = false, allow_unused = false;
    std::string source, isa, dump, html;
};

// Throws UsageError where there is no such step.
void check_rows(const PlanArguments& args) {
    if (args.prefill || args.rows <= 1) return;
    decode_step_option(args.rows, "--prefill");
    if (args.fusion == "off")
        throw UsageError(
            "--rows with --fusion off: without fusion sequences take turns, in steps of one row");
}

StepKind step_kind(const PlanArguments& args, const Arch& arch) {
    if (args.prefill) return {.rows = args.rows > 0 ? args.rows : arch.prefill_rows};
    return decode_step(std::max(args.rows, 1)).value();
}

PlanOptions plan_options(const PlanArguments& args, const Arch& arch) {
    PlanOptions options = with_kind({.fusion = args.fusion == "on"}, step_kind(args, arch));
    options.matrix = arch.has_matrix;
    options.activations = args.activations == "f32" ? Activations::kFloat : Activations::kQuantised;
    options.kv = kv_type(args.kv);
    return options;
}

// The arch asked for, or that of the device which `hetune run` would take.
Arch arch_of(const PlanArguments& args) {
    return args.arch.empty() ? chosen_arch(args.json) : find_arch(args.arch);
}

struct Planned {
    Arch arch;
    Plan plan, sampler;
    std::string operations;  // graph_text, where it is asked for
    int64_t context = 0;

    std::vector<NamedKernel> kernels() const {
        std::vector<NamedKernel> list = named_kernels(plan);
        std::ranges::move(named_kernels(sampler), std::back_inserter(list));
        return list;
    }
};

// Empty where there is none for the arch: a plan needs no compiler.
std::string compiler_identity(const Arch& arch, const PlanArguments& args) try {
    return choose_compiler(arch, read_environment(), args.compiler)->identity();
} catch (const CompileError&) {
    return {};
}

Planned make(const PlanArguments& args) {
    check_rows(args);
    const ModelFile file(args.file, ModelFile::Open::kHeaderOnly);
    const LayerGraph graph = build_layer_graph(file);
    check_all_used(file, graph, args.allow_unused);
    Planned made{.arch = arch_of(args)};
    PlanOptions options = plan_options(args, made.arch);
    const TuneUse use = tune_use(read_environment().tune);
    const auto records = stored_records(cache_options(), made.arch.name);
    const std::string compiler = records.empty() ? "" : compiler_identity(made.arch, args);
    const ChosenTunings chosen = tunings_for(records, made.arch, "", compiler, use);
    options.tunings = chosen.tunings;
    if (chosen.stale > 0 && !compiler.empty())  // else there is nothing to compare with
        tell(
            "hetune: {} of {} tunings are stale: found with another compiler; `hetune autotune` "
            "tries them again\n",
            chosen.stale, chosen.used);
    made.plan = make_plan(graph, file, made.arch, options);
    if (args.operations) made.operations = graph_text(fuse(graph, file, options).graph);
    made.sampler =
        make_sampler_plan(graph.vocabulary, made.arch, options, made.arch.has_graph_loops);
    made.context =
        args.context > 0 ? args.context : std::min(graph.trained_context, kDefaultContext);
    return made;
}

// The compilers of an arch, the cache and the disassembler, for the options that compile.
struct Workshop {
    CodeStore store{cache_options()};
    KernelLibrary library;
    std::unique_ptr<Disassembler> disassembler = find_disassembler(read_environment());
    Workshop(const Arch& arch, const PlanArguments& args)
        : library(arch, store, read_environment(), args.compiler, args.jobs) {}
};

// The memory of a load with these options; its other plans need a few MiB at most beside this one.
MemoryNeeds needs_of(const PlanArguments& args, const Planned& made) {
    const int sequences = std::max(args.parallel, made.plan.options.sequences);
    return memory_needs(std::span(&made.plan, 1),
                        {.context = made.context,
                         .sequences = sequences,
                         .snapshots = ModelOptions().state_snapshots,
                         .checkpoints = state_checkpoints({.sequences = sequences})},
                        0);
}

void print_json(const PlanArguments& args, const Planned& made) {
    nlohmann::ordered_json json = plan_json(made.plan, made.arch, made.context);
    const nlohmann::ordered_json sampler = plan_json(made.sampler, made.arch, made.context);
    for (const auto& kernel : sampler["kernels"]) json["kernels"].push_back(kernel);
    json["memory"] = memory_json(needs_of(args, made));
    json["sampler"] = {{"steps", sampler["steps"]}, {"buffers", sampler["buffers"]}};
    if (args.resources) {
        Workshop workshop(made.arch, args);
        compile_ahead(workshop.library, made.kernels());
        for (const NamedKernel& kernel : made.kernels()) {
            const CompiledKernel compiled = compile_kernel(workshop.library, kernel.spec);
            json["resources"][kernel.name] = resources_json(compiled.code.resources);
            if (!compiled.refused.empty()) json["refused"][kernel.name] = compiled.refused;
        }
    }
    fmt::print("{}\n", json_text(json));
}

void print_text(const PlanArguments& args, const Planned& made) {
    fmt::print("{}", plan_text(made.plan, made.arch, made.context));
    const NamedKernel sampler = made.kernels().back();
    fmt::print("then {}: {}\n", sampler.name, sampler.spec.to_string());
    fmt::print("\nmemory of this plan\n{}", memory_table(needs_of(args, made)));
    if (!args.resources) return;
    Workshop workshop(made.arch, args);
    fmt::print("\nresources, by {}\n{}", workshop.library.compiler().identity(),
               resources_heading());
    compile_ahead(workshop.library, made.kernels());
    for (const NamedKernel& kernel : made.kernels())
        fmt::print("{}",
                   resources_line(kernel.name, compile_kernel(workshop.library, kernel.spec)));
}

void print_isa(const PlanArguments& args, const Planned& made) {
    Workshop workshop(made.arch, args);
    const auto kernels = made.kernels();
    const NamedKernel& kernel = find_kernel(kernels, args.isa);
    const CompiledKernel compiled = compile_kernel(workshop.library, kernel.spec);
    fmt::print("{}\n{}{}\n", kernel.spec.to_string(), resources_heading(),
               resources_line(kernel.name, compiled));
    if (!made.arch.code_is_readable)
        throw std::runtime_error(
            "LLVM reads no NVIDIA code; `cuobjdump -sass` reads the .co of --dump");
    if (workshop.disassembler == nullptr)
        throw std::runtime_error("there is no disassembler; `apt install libllvm19` brings it");
    const std::string listing = workshop.disassembler->listing(compiled.code, made.arch);
    fmt::print("{}\n{}", instructions_line(count_instructions(listing)), listing);
}

int dump(const PlanArguments& args, const Planned& made) {
    Workshop workshop(made.arch, args);
    const auto failures = dump_kernels({&made.plan, &made.sampler}, workshop.library,
                                       workshop.disassembler.get(), args.dump);
    fmt::print("{}: {} kernels\n", args.dump, made.kernels().size());
    for (const std::string& failure : failures) tell("hetune: {}\n", failure);
    return failures.empty() ? 0 : 1;
}

// Without a compiler for the arch there are no sources' objects to show, and all else is as it is.
void write_html(const PlanArguments& args, const Planned& made) {
    OutputFile file(args.html);
    std::optional<Workshop> workshop;
    try {
        workshop.emplace(made.arch, args);
    } catch (const CompileError& error) {
        if (!args.compiler.empty()) throw;
        tell("hetune: without resources and disassembly: {}\n", error.what());
    }
    write_report({{"title", "hetune plan: " + made.plan.model},
                  {"subtitle", fmt::format("{} ({})", made.arch.name, made.arch.example)},
                  {"plans",
                   {plan_report(made.plan, made.arch, made.context,
                                stored_records(cache_options(), made.arch.name),
                                workshop ? &workshop->library : nullptr,
                                workshop ? workshop->disassembler.get() : nullptr)}},
                  {"autotune", nullptr}},
                 file);
    fmt::print("{}: written\n", args.html);
}

int run(const PlanArguments& args) {
    const Planned made = make(args);
    if (!args.source.empty()) {
        const auto kernels = made.kernels();
        const KernelSpec& spec = find_kernel(kernels, args.source).spec;
        fmt::print("{}",
                   TemplateSources(read_environment().template_dir).render(spec, made.arch.family));
    } else if (!args.isa.empty()) {
        print_isa(args, made);
    } else if (!args.dump.empty()) {
        return dump(args, made);
    } else if (!args.html.empty()) {
        write_html(args, made);
    } else if (args.operations) {
        fmt::print("{}", made.operations);
    } else if (args.json) {
        print_json(args, made);
    } else {
        print_text(args, made);
    }
    return 0;
}

const RegisterCommand kPlan{
    "plan", "Shows which kernels run a model on an arch: steps, constants, bytes, source, ISA",
    [](CLI::App& app) {
        auto args = std::make_shared<PlanArguments>();
        std::string archs;
        for (const Arch& arch : known_archs()) archs += (archs.empty() ? "" : ", ") + arch.name;
        app.add_option("FILE", args->file, "GGUF model (its header will do)")
            ->check(not_empty())
            ->required();
        app.add_option("--arch", args->arch, archs + "; default: that of this machine")
            ->check(arch_option());
        app.add_option("--rows", args->rows,
                       "rows of the step: 1, 2, 4, ... 64 sequences that decode; with --prefill "
                       "tokens of a prompt; default: 1")
            ->check(whole_number(1, 4096));
        app.add_flag("--prefill", args->prefill,
                     "a step of a prompt; default of --rows: as in `run`");
        app.add_option("-c,--ctx", args->context,
                       "context in tokens; default: the model's, at most 4096")
            ->check(whole_number(1, 1 << 30));
        app.add_option("--parallel", args->parallel,
                       "sequences with memory for a context, for the table of memory; default: "
                       "those of the step")
            ->check(whole_number(1, kMostSequences));
        app.add_option("--fusion", args->fusion, "on, or off: one kernel per primitive operation")
            ->check(one_of({"on", "off"}))
            ->capture_default_str();
        app.add_option("--activations", args->activations, "q8: 8-bit dot products, or f32")
            ->check(one_of({"q8", "f32"}))
            ->capture_default_str();
        app.add_option("--kv", args->kv, "type of the KV cache: f16, bf16, f32 or q8")
            ->check(one_of(kv_type_names()))
            ->capture_default_str();
        app.add_option("--compiler", args->compiler,
                       "hiprtc, comgr, clang or nvrtc; default: the best there is")
            ->check(compiler_option());
        app.add_option("-j,--jobs", args->jobs, "compilers at once; default: one per core")
            ->check(whole_number(1, 1024));
        add_allow_unused(app, args->allow_unused);
        app.add_flag("--resources", args->resources,
                     "compile, and show registers, LDS, spills and code size");
        auto* instead = app.add_option_group("instead", "Instead of the plan");
        instead->add_flag("--json", args->json, "the plan as JSON");
        instead->add_flag("--operations", args->operations,
                          "the operations that the steps compute, fused where a rule allows it");
        instead->add_option("--source", args->source, "the source of a kernel, as \"gemv.2\"")
            ->check(not_empty());
        instead->add_option("--isa", args->isa, "resources and disassembly of a kernel")
            ->check(not_empty());
        instead
            ->add_option("--html", args->html,
                         "write a page here: roofline, timeline, sources and ISA")
            ->check(not_empty());
        instead
            ->add_option("--dump", args->dump,
                         "write source, object, disassembly and JSON of every kernel here")
            ->check(not_empty());
        instead->require_option(0, 1);
        app.footer(
            "Examples:\n  hetune plan model.gguf --arch gfx1100\n"
            "  hetune plan model.gguf --arch gfx1151 --prefill --resources\n"
            "  hetune plan model.gguf --arch gfx1100 --rows 8 --ctx 4096\n"
            "  hetune plan model.gguf --arch gfx1100 --isa gemv.0\n"
            "  hetune plan model.gguf --arch gfx1100 --html plan.html");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
