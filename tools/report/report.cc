#include "tools/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "planner/plan/tuning_space.h"
#include "tools/plan_kernels.h"
#include "tools/report/files.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

const TuningRecord* record_of(const Plan& plan, const PlanStep& step,
                              const std::vector<TuningRecord>& measured) {
    // A result times a whole op.
    if (std::ranges::count(plan.steps, step.op, &PlanStep::op) != 1) return nullptr;
    const std::string shape = shape_of(plan, step).to_string();
    const TuningPoint point = point_of(plan.spec(step));
    for (const TuningRecord& record : measured)
        if (record.measured && record.key.shape == shape && record.point == point) return &record;
    return nullptr;
}

Json kernel_report(const NamedKernel& kernel, const Plan& plan, KernelLibrary* library,
                   Disassembler* disassembler) {
    const auto spec = [&](const PlanStep& step) -> const KernelSpec& { return plan.spec(step); };
    Json json = {{"name", kernel.name},
                 {"spec", kernel.spec.to_string()},
                 {"launches", std::ranges::count(plan.steps, kernel.spec, spec)},
                 {"point", to_string(point_of(kernel.spec))}};
    if (library == nullptr) return json;
    json["source"] = library->source(kernel.spec);
    try {
        const CompiledKernel compiled = compile_kernel(*library, kernel.spec);
        json["resources"] = resources_json(compiled.code.resources);
        json["compile_ms"] = compiled.code.compile_ms;
        if (!compiled.refused.empty()) json["refused"] = compiled.refused;
        if (disassembler != nullptr && library->arch().code_is_readable)
            json["isa"] = disassembler->listing(compiled.code, library->arch());
    } catch (const CompileError& error) {
        // No time is left: the report goes without.
        if (error.cause() == CompileError::Cause::kGivenUp) return json;
        json["refused"] = error.what();
    }
    return json;
}

// In a script element only "</script" and "<!--" would end or change the text.
std::string in_script(const Json& json) {
    std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
    for (size_t at = 0; (at = text.find('<', at)) != std::string::npos;)
        text.replace(at, 1, "\\u003c");
    return text;
}

void put(std::string& page, std::string_view mark, std::string_view text) {
    const size_t at = page.find(mark);
    if (at != std::string::npos) page.replace(at, mark.size(), text);
}

std::string html_text(const std::string& text) {
    std::string out;
    for (const char c : text) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
    return out;
}

}  // namespace

Json plan_report(const Plan& plan, const Arch& arch, int64_t context,
                 const std::vector<TuningRecord>& measured, KernelLibrary* library,
                 Disassembler* disassembler) {
    const std::vector<NamedKernel> kernels = named_kernels(plan);
    if (library != nullptr) compile_ahead(*library, kernels);
    Json steps = Json::array(), list = Json::array();
    double floor = 0, us = 0;
    for (const PlanStep& step : plan.steps) {
        const Roofline line = roofline(step.cost, arch, context);
        const Prediction predicted = predict(plan, step, arch, context);
        const TuningRecord* record = record_of(plan, step, measured);
        const double step_us = record != nullptr ? record->us : predicted.us;
        steps.push_back({{"label", step.label},
                         {"kernel", kernels[static_cast<size_t>(step.kernel)].name},
                         {"bytes", line.bytes},
                         {"operations", line.operations},
                         {"floor_us", line.us},
                         {"us", step_us},
                         {"measured", record != nullptr},
                         {"bound_by", predicted.bound_by}});
        floor += line.us;
        us += step_us;
    }
    for (const NamedKernel& kernel : kernels)
        list.push_back(kernel_report(kernel, plan, library, disassembler));
    return {{"rows", plan.options.rows},
            {"context", context},
            {"arch",
             {{"name", arch.name},
              {"example", arch.example},
              {"gb_s", arch.bandwidth_gb_s},
              {"tflops", arch.half_tflops}}},
            {"floor_us", floor},
            {"us", us},
            {"steps", std::move(steps)},
            {"kernels", std::move(list)},
            {"notes", plan.notes},
            {"tuned", plan.tuned}};
}

void write_report(const Json& report, OutputFile& file) {
    std::string page(report_file("report.html").value());
    put(page, "/*TITLE*/", html_text(report["title"].get<std::string>()));
    put(page, "/*CSS*/",
        std::string(report_file("uplot/uPlot.min.css").value()) +
            std::string(report_file("report.css").value()));
    put(page, "/*UPLOT*/", report_file("uplot/uPlot.iife.min.js").value());
    put(page, "/*JS*/", report_file("report.js").value());
    put(page, "/*DATA*/", in_script(report));
    file.write(page);
    file.commit();
}

}  // namespace hetune
