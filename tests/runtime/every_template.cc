#include "tests/runtime/every_template.h"

#include <map>
#include <regex>
#include <sstream>

#include "kernel_templates/catalogue.h"
#include "kernel_templates/embedded.h"
#include "kernel_templates/quant/registry.h"

namespace hetune::testing {
namespace {

// `constexpr int kRows = 4096;` and `using Quant = Q4_K;` of the block under #ifndef HETUNE_SPEC.
std::map<std::string, std::string> defaults_of(const std::string& file) {
    static const std::regex constant(R"(constexpr \w+ (\w+) = (.*);.*)");
    static const std::regex type(R"(using (\w+) = (\w+);.*)");
    std::map<std::string, std::string> values;
    std::istringstream lines{std::string(embedded_file(file).value())};
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("#ifndef HETUNE_SPEC")) inside = true;
        if (inside && line.starts_with("#endif")) break;
        std::smatch match;
        if (inside &&
            (std::regex_match(line, match, constant) || std::regex_match(line, match, type)))
            values[match[1]] = match[2];
    }
    return values;
}

// GEMM kernels are long, and formats differ in how many weights share a tile and a scale: one of
// each.
bool left_out(const TemplateInfo& info, const std::string& format) {
    return info.promises.matrix && format != "Q4_K" && format != "Q6_K" && format != "Q8_0" &&
           format != "F32";
}

}  // namespace

std::vector<KernelSpec> every_template() {
    std::vector<KernelSpec> specs;
    for (const TemplateInfo* info : all_templates()) {
        const KernelSpec spec{info->name, defaults_of(info->file)};
        if (!spec.constants.contains("Quant")) {
            specs.push_back(spec);
            continue;
        }
        for (const QuantFormat& format : all_quants()) {
            if (left_out(*info, format.name)) continue;
            KernelSpec with = spec;
            with.constants["Quant"] = format.name;
            if (spec.constants.contains("kQuantisedInput")) {
                with.constants["kQuantisedInput"] = "false";
                specs.push_back(with);
                if (!format.integer) continue;
                with.constants["kQuantisedInput"] = "true";
            }
            specs.push_back(with);
        }
    }
    return specs;
}

}  // namespace hetune::testing
