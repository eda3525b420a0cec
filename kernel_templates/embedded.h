// Template files as they lie in kernel_templates, built into the library by embed.cmake.
#pragma once

#include <optional>
#include <string_view>

namespace hetune {

// `name` is relative to kernel_templates: "linear/gemv.hip".
std::optional<std::string_view> embedded_file(std::string_view name);

}  // namespace hetune
