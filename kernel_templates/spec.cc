#include "kernel_templates/spec.h"

#include <fmt/format.h>

namespace hetune {

std::string KernelSpec::to_string() const {
    std::string text = name + "(";
    const char* separator = "";
    for (const auto& [key, value] : constants) {
        text += separator + key + "=" + value;
        separator = ", ";
    }
    return text + ")";
}

std::string constant(int64_t value) { return std::to_string(value); }
std::string constant(int value) { return std::to_string(value); }
std::string constant(bool value) { return value ? "true" : "false"; }
std::string constant(double value) {
    std::string text = fmt::format("{:.9g}", static_cast<double>(static_cast<float>(value)));
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text + "f";
}

}  // namespace hetune
