#include "kernel_templates/spec.h"

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

}  // namespace hetune
