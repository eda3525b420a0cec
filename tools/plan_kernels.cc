#include "tools/plan_kernels.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cache/temp_file.h"
#include "planner/plan/occupancy.h"
#include "tools/json_output.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

Json args_json(const Plan& plan, const PlanStep& step) {
    Json args = Json::array();
    const TemplateInfo& info = *find_template(plan.spec(step).name);
    for (size_t i = 0; i < step.args.size(); ++i) {
        const PlanBuffer& buffer = plan.buffers[static_cast<size_t>(step.args[i].buffer)];
        args.push_back({{"name", info.params[i].name},
                        {"type", info.params[i].type},
                        {"role", to_string(info.params[i].role)},
                        {"shape", info.params[i].shape},
                        {"buffer", buffer.name},
                        {"offset", step.args[i].offset},
                        {"bytes", step.args[i].bytes > 0 ? step.args[i].bytes : buffer.bytes},
                        {"bytes_per_context", buffer.bytes_per_context}});
    }
    return args;
}

// As the first step that launches it does; `launches` counts all of them.
Json kernel_json(const Plan& plan, const NamedKernel& kernel, const KernelLibrary& library) {
    const auto uses = [&](const PlanStep& step) { return plan.spec(step) == kernel.spec; };
    const PlanStep& step = *std::ranges::find_if(plan.steps, uses);
    return {{"kernel", kernel.name},
            {"template", kernel.spec.name},
            {"entry", kernel.spec.name},
            {"arch", library.arch().name},
            {"constants", kernel.spec.constants},
            {"launch",
             {{"groups", {step.groups[0], step.groups[1], step.groups[2]}},
              {"threads", step.threads},
              {"rows", plan.options.rows},
              {"rows_axis", step.rows_axis},
              {"rows_per_group", step.rows_per_group}}},
            {"step", step.label},
            {"launches", std::ranges::count_if(plan.steps, uses)},
            {"args", args_json(plan, step)}};
}

}  // namespace

const NamedKernel& find_kernel(const std::vector<NamedKernel>& kernels, const std::string& name) {
    std::string names;
    for (const NamedKernel& kernel : kernels) {
        if (kernel.name == name) return kernel;
        names += (names.empty() ? "" : ", ") + kernel.name;
    }
    throw std::runtime_error(fmt::format("the plan has no kernel '{}'; it has {}", name, names));
}

CompiledKernel compile_kernel(KernelLibrary& library, const KernelSpec& spec) {
    try {
        return {library.get({spec}).at(0), {}};
    } catch (const CompileError& error) {
        if (error.cause() != CompileError::Cause::kGate) throw;
        return {library.compiler().compile({spec.name, library.source(spec), library.arch()}),
                error.what()};
    }
}

void compile_ahead(KernelLibrary& library, const std::vector<NamedKernel>& kernels) {
    std::vector<KernelSpec> specs;
    for (const NamedKernel& kernel : kernels) specs.push_back(kernel.spec);
    try {
        library.get(specs);
    } catch (const CompileError&) {
        // Told where the one kernel is asked for.
    }
}

Json resources_json(const KernelResources& r) {
    return {{"vgprs", r.vgprs},
            {"sgprs", r.sgprs},
            {"lds_bytes", r.lds_bytes},
            {"scratch_bytes", r.scratch_bytes},
            {"spilled_vgprs", r.spilled_vgprs},
            {"spilled_sgprs", r.spilled_sgprs},
            {"max_threads", r.max_threads},
            {"code_bytes", r.code_bytes}};
}

Json occupancy_json(const KernelResources& resources, const Arch& arch, uint32_t threads) {
    if (resources.vgprs < 0) return nullptr;
    const Occupancy found = occupancy(arch, resources.vgprs, std::max(resources.lds_bytes, 0),
                                      static_cast<int>(threads));
    return {{"waves_per_simd", found.waves_per_simd}, {"limited_by", found.limited_by}};
}

std::string instructions_line(const InstructionMix& mix) {
    return fmt::format(
        "{} instructions: {} dot4, {} matrix, {} 128-bit loads, {} LDS, {} lane moves, {} scalar, "
        "{} waits\n",
        mix.total, mix.dot4, mix.matrix, mix.wide_loads, mix.lds, mix.lane_moves, mix.scalar,
        mix.waits);
}

std::string resources_heading() {
    return fmt::format("{:<22} {:>6} {:>6} {:>8} {:>8} {:>7} {:>8}\n", "kernel", "VGPRs", "SGPRs",
                       "LDS", "scratch", "spills", "code");
}

std::string resources_line(const std::string& name, const CompiledKernel& kernel) {
    const KernelResources& r = kernel.code.resources;
    const auto known = [](int64_t value) {
        return value < 0 ? std::string("-") : std::to_string(value);
    };
    const int spills = r.spilled_vgprs < 0 ? -1 : r.spilled_vgprs + std::max(r.spilled_sgprs, 0);
    std::string line = fmt::format("{:<22} {:>6} {:>6} {:>8} {:>8} {:>7} {:>8}", name,
                                   known(r.vgprs), known(r.sgprs), known(r.lds_bytes),
                                   known(r.scratch_bytes), known(spills), known(r.code_bytes));
    if (!kernel.refused.empty()) line += "  refused: " + kernel.refused;
    return line + "\n";
}

std::vector<std::string> dump_kernels(const std::vector<const Plan*>& plans, KernelLibrary& library,
                                      Disassembler* disassembler,
                                      const std::filesystem::path& folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error)
        throw std::runtime_error(fmt::format("--dump {}: {}", folder.string(), error.message()));
    std::vector<std::string> failures;
    for (const Plan* plan : plans) compile_ahead(library, named_kernels(*plan));
    for (const Plan* plan : plans)
        for (const NamedKernel& kernel : named_kernels(*plan)) {
            const auto path = [&](const char* suffix) { return folder / (kernel.name + suffix); };
            write_output(path(".hip"), library.source(kernel.spec));
            Json json = kernel_json(*plan, kernel, library);
            try {
                const CompiledKernel compiled = compile_kernel(library, kernel.spec);
                json["entry"] = compiled.code.entry;
                json["resources"] = resources_json(compiled.code.resources);
                json["occupancy"] = occupancy_json(compiled.code.resources, library.arch(),
                                                   json["launch"]["threads"].get<uint32_t>());
                json["compiler"] = library.compiler().identity();
                if (!compiled.refused.empty()) json["refused"] = compiled.refused;
                write_output(path(".co"), compiled.code.bytes);
                if (disassembler != nullptr && library.arch().code_is_readable) {
                    const std::string listing =
                        disassembler->listing(compiled.code, library.arch());
                    write_output(path(".s"), listing);
                    json["instructions"] = to_json(count_instructions(listing));
                }
            } catch (const CompileError& failure) {
                failures.push_back(failure.what());
                json["failed"] = failure.what();
            }
            write_output(path(".json"), json_text(json) + "\n");
        }
    return failures;
}

}  // namespace hetune
