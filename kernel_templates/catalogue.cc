#include "kernel_templates/catalogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

#include "kernel_templates/embedded.h"

namespace hetune {
namespace {

std::vector<const TemplateInfo*>& registry() {
    static std::vector<const TemplateInfo*> list;
    return list;
}

// The target's own file in place of prelude/target.h or prelude/matrix_target.h.
std::string file_of_target(const std::string& name, TargetFamily family) {
    constexpr std::string_view kTargets[] = {"amdgcn.h", "nvptx.h", "cpu.h"};
    const std::string target(kTargets[static_cast<size_t>(family)]);
    if (name == "prelude/target.h") return "prelude/" + target;
    if (name == "prelude/matrix_target.h") return "prelude/matrix_" + target;
    if (name == "prelude/int_matrix_target.h") return "prelude/int_matrix_" + target;
    return name;
}

// Where the values of a type-valued constant are defined; Quant has a header for each value.
const char* header_of_type(std::string_view type) {
    if (type == "Functor") return "elementwise/functors.h";
    if (type == "Kv") return "attention/kv_type.h";
    return nullptr;
}

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
}

// The file name in a line that is `#include "..."`, else empty.
std::string_view included(std::string_view line) {
    constexpr std::string_view kInclude = "#include \"";
    if (!line.starts_with(kInclude)) return {};
    line.remove_prefix(kInclude.size());
    return line.substr(0, line.find('"'));
}

}  // namespace

std::string_view to_string(ParamRole role) {
    switch (role) {
        case ParamRole::kWeights:
            return "weights";
        case ParamRole::kActivations:
            return "activations";
        case ParamRole::kState:
            return "state";
        case ParamRole::kStep:
            return "step";
        case ParamRole::kOutput:
            return "output";
        case ParamRole::kInOut:
            return "inout";
    }
    return {};
}

int64_t SpecValues::operator()(const std::string& name) const {
    const auto found = spec_.constants.find(name);
    if (found == spec_.constants.end()) return 0;
    return found->second == "true" ? 1 : std::strtoll(found->second.c_str(), nullptr, 10);
}

int64_t lds_bytes(const KernelSpec& spec) {
    const TemplateInfo* info = find_template(spec.name);
    return info == nullptr || !info->lds_bytes ? 0 : info->lds_bytes(SpecValues(spec));
}

std::string refusal(const KernelSpec& spec, const TargetLimits& limits) {
    const SpecValues values(spec);
    if (const int64_t threads = 32 * values("kWaves"); threads > limits.max_threads)
        return fmt::format("{} threads, but a group has at most {}", threads, limits.max_threads);
    if (const int64_t bytes = lds_bytes(spec); bytes > limits.lds_bytes)
        return fmt::format("{} bytes of LDS, but a group has {}", bytes, limits.lds_bytes);
    const TemplateInfo* info = find_template(spec.name);
    return info == nullptr || !info->refuses ? std::string() : info->refuses(values);
}

std::span<const TemplateInfo* const> all_templates() { return registry(); }

const TemplateInfo* find_template(std::string_view name) {
    const auto& list = registry();
    const auto found = std::ranges::find(list, name, &TemplateInfo::name);
    return found == list.end() ? nullptr : *found;
}

RegisterTemplate::RegisterTemplate(TemplateInfo info) {
    static std::deque<TemplateInfo> infos;  // a deque leaves its elements where they are
    auto& list = registry();
    const auto at = std::ranges::lower_bound(list, info.name, {}, &TemplateInfo::name);
    list.insert(at, &infos.emplace_back(std::move(info)));
}

std::string TemplateSources::read(const std::string& name) const {
    if (folder_.empty()) {
        if (const auto text = embedded_file(name)) return std::string(*text);
        throw std::runtime_error(fmt::format("no embedded template file '{}'", name));
    }
    std::ifstream file(folder_ / name, std::ios::binary);
    if (!file)
        throw std::runtime_error(
            fmt::format("{}: cannot read (HETUNE_TEMPLATE_DIR)", (folder_ / name).string()));
    return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string TemplateSources::render(const KernelSpec& spec, TargetFamily family) const {
    const TemplateInfo* info = find_template(spec.name);
    if (info == nullptr)
        throw std::runtime_error(fmt::format("no kernel template '{}'", spec.name));

    std::string text;
    std::set<std::string> done;
    // Appends a file with its includes in place.
    auto append = [&](auto& self, std::string name) -> void {
        name = file_of_target(name, family);
        if (!done.insert(name).second) return;
        const std::string content = read(name);
        text += fmt::format("#line 1 \"{}\"\n", name);
        int number = 0;
        for (size_t at = 0; at < content.size();) {
            const size_t end = std::min(content.find('\n', at), content.size());
            const std::string_view line(content.data() + at, end - at);
            at = end + 1;
            ++number;
            if (const std::string_view header = included(line); !header.empty()) {
                self(self, std::string(header));
                text += fmt::format("#line {} \"{}\"\n", number + 1, name);
            } else if (line.starts_with("#pragma once")) {
                text += '\n';
            } else {
                text.append(line).push_back('\n');
            }
        }
    };

    text = "#define HETUNE_SPEC 1\n";
    append(append, "prelude/prelude.h");
    for (const TemplateConstant& constant : info->constants) {
        const auto value = spec.constants.find(constant.name);
        if (value == spec.constants.end())
            throw std::runtime_error(
                fmt::format("{} lacks the constant {}", spec.to_string(), constant.name));
        if (constant.type == "Quant") {
            append(append, "quant/" + lower(value->second) + ".h");
        } else if (const char* header = header_of_type(constant.type)) {
            append(append, header);
        }
        const bool is_type = constant.type == "Quant" || header_of_type(constant.type) != nullptr;
        text += fmt::format("#line 1 \"{}\"\n", kConstantsFile);
        text += is_type ? fmt::format("using {} = {};\n", constant.name, value->second)
                        : fmt::format("constexpr {} {} = {};\n", constant.type, constant.name,
                                      value->second);
    }
    for (const auto& [name, value] : spec.constants)
        if (std::ranges::find(info->constants, name, &TemplateConstant::name) ==
            info->constants.end())
            throw std::runtime_error(
                fmt::format("{}: {} declares no constant {}", spec.to_string(), info->file, name));
    append(append, info->file);
    return text;
}

}  // namespace hetune
