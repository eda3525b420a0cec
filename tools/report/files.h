// The parts of a report's page, embedded at build time.
#pragma once

#include <optional>
#include <string_view>

namespace hetune {

// By name relative to tools/report; empty when there is none.
std::optional<std::string_view> report_file(std::string_view name);

}  // namespace hetune
