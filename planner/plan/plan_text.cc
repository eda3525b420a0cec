#include "planner/plan/plan_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "kernel_templates/catalogue.h"

namespace hetune {
namespace {

std::string kib(int64_t bytes) { return fmt::format("{:.1f}", static_cast<double>(bytes) / 1024); }

nlohmann::ordered_json step_json(const PlanStep& step, const Plan& plan,
                                 const std::vector<NamedKernel>& kernels, const Arch& arch,
                                 int64_t context) {
    const Roofline line = roofline(step.cost, arch, context);
    nlohmann::ordered_json args = nlohmann::ordered_json::array();
    const TemplateInfo& info = *find_template(plan.spec(step).name);
    for (size_t i = 0; i < step.args.size(); ++i)
        args.push_back({{"name", info.params[i].name},
                        {"type", info.params[i].type},
                        {"role", to_string(info.params[i].role)},
                        {"shape", info.params[i].shape},
                        {"buffer", plan.buffers[static_cast<size_t>(step.args[i].buffer)].name},
                        {"offset", step.args[i].offset},
                        {"bytes", step.args[i].bytes}});
    return {{"label", step.label},
            {"kernel", kernels[static_cast<size_t>(step.kernel)].name},
            {"groups", {step.groups[0], step.groups[1], step.groups[2]}},
            {"threads", step.threads},
            {"args", std::move(args)},
            {"weight_bytes", step.cost.weight_bytes},
            {"activation_bytes", step.cost.activation_bytes},
            {"kv_bytes_per_context", step.cost.kv_bytes_per_context},
            {"operations", line.operations},
            {"bytes", line.bytes},
            {"roofline_us", line.us}};
}

}  // namespace

std::vector<NamedKernel> named_kernels(const Plan& plan) {
    std::vector<NamedKernel> kernels;
    std::map<std::string, int> counts;
    for (const KernelSpec& spec : plan.kernels)
        kernels.push_back({fmt::format("{}.{}", spec.name, counts[spec.name]++), spec});
    return kernels;
}

Roofline roofline(const StepCost& cost, const Arch& arch, int64_t context) {
    Roofline line{
        .bytes = cost.weight_bytes + cost.activation_bytes + cost.kv_bytes_per_context * context,
        .operations = cost.operations + cost.operations_per_context * context};
    const double memory_us = static_cast<double>(line.bytes) / (arch.bandwidth_gb_s * 1e3);
    const double math_us = static_cast<double>(line.operations) / (arch.half_tflops * 1e6);
    line.us = std::max(memory_us, math_us);
    return line;
}

std::string plan_text(const Plan& plan, const Arch& arch, int64_t context) {
    const std::vector<NamedKernel> kernels = named_kernels(plan);
    std::string text = fmt::format(
        "{} ({}) on {}: {} row{}{}, activations {}, KV {}, fusion {}, at a context of {}\n\n",
        plan.model, plan.architecture, plan.arch, plan.options.rows,
        plan.options.rows == 1 ? "" : "s",
        plan.options.sequences == 1
            ? ""
            : fmt::format(" of {} sequences that decode", plan.options.sequences),
        to_string(plan.options.activations), to_string(plan.options.kv),
        plan.options.fusion ? "on" : "off", context);
    // The rates are those of the data sheet, so that the floors are predictions.
    text += fmt::format("{:<34} {:<20} {:>14} {:>7} {:>10} {:>10} {:>18}\n", "step", "kernel",
                        "groups", "threads", "KiB", "MFLOP", "predicted floor us");
    Roofline sum;
    for (const PlanStep& step : plan.steps) {
        const Roofline line = roofline(step.cost, arch, context);
        sum.bytes += line.bytes;
        sum.operations += line.operations;
        sum.us += line.us;
        text += fmt::format("{:<34} {:<20} {:>14} {:>7} {:>10} {:>10.3f} {:>18.2f}\n", step.label,
                            kernels[static_cast<size_t>(step.kernel)].name,
                            fmt::format("{}x{}x{}", step.groups[0], step.groups[1], step.groups[2]),
                            step.threads, kib(line.bytes),
                            static_cast<double>(line.operations) * 1e-6, line.us);
    }
    text += fmt::format("{:<34} {:<20} {:>14} {:>7} {:>10} {:>10.3f} {:>18.2f}\n", "together",
                        fmt::format("{} kernels", kernels.size()),
                        fmt::format("{} launches", plan.steps.size()), "", kib(sum.bytes),
                        static_cast<double>(sum.operations) * 1e-6, sum.us);
    if (plan.options.rows == 1 && sum.us > 0)
        text += fmt::format("predicted roofline of {} ({} GB/s on paper): {:.0f} tok/s\n",
                            arch.name, arch.bandwidth_gb_s, 1e6 / sum.us);
    text += "\nkernels\n";
    for (const auto& [name, spec] : kernels)
        text += fmt::format("  {:<20} {}\n", name, spec.to_string());
    text += "\nbuffers\n";
    std::map<BufferRole, std::pair<int, int64_t>> roles;
    for (const PlanBuffer& buffer : plan.buffers) {
        auto& [count, bytes] = roles[buffer.role];
        ++count;
        bytes += buffer.bytes + buffer.bytes_per_context * context;
    }
    for (const auto& [role, total] : roles)
        text += fmt::format("  {:<8} {:>4} {:>14} KiB\n", to_string(role), total.first,
                            kib(total.second));
    for (const std::string& note : plan.notes) text += "fused: " + note + "\n";
    for (const std::string& tuned : plan.tuned) text += "tuned: " + tuned + "\n";
    return text;
}

nlohmann::ordered_json plan_json(const Plan& plan, const Arch& arch, int64_t context) {
    const std::vector<NamedKernel> named = named_kernels(plan);
    nlohmann::ordered_json steps = nlohmann::ordered_json::array();
    double us = 0;
    for (const PlanStep& step : plan.steps) {
        steps.push_back(step_json(step, plan, named, arch, context));
        us += roofline(step.cost, arch, context).us;
    }
    nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
    for (const auto& [name, spec] : named)
        kernels.push_back({{"name", name}, {"template", spec.name}, {"constants", spec.constants}});
    nlohmann::ordered_json buffers = nlohmann::ordered_json::array();
    for (const PlanBuffer& buffer : plan.buffers)
        buffers.push_back({{"name", buffer.name},
                           {"role", to_string(buffer.role)},
                           {"bytes", buffer.bytes},
                           {"bytes_per_context", buffer.bytes_per_context}});
    return {{"model", plan.model},
            {"architecture", plan.architecture},
            {"arch", plan.arch},
            {"rows", plan.options.rows},
            {"sequences", plan.options.sequences},
            {"fusion", plan.options.fusion},
            {"activations", to_string(plan.options.activations)},
            {"kv", to_string(plan.options.kv)},
            {"context", context},
            {"launches", plan.steps.size()},
            {"roofline_us", us},
            {"roofline_rates", "predicted, from the data sheet"},
            {"steps", std::move(steps)},
            {"kernels", std::move(kernels)},
            {"buffers", std::move(buffers)},
            {"notes", plan.notes},
            {"tuned", plan.tuned}};
}

}  // namespace hetune
