#include "tools/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "cache/options.h"
#include "planner/plan/arch.h"
#include "runtime/compile/compiler.h"
#include "runtime/device/device.h"

namespace hetune {
namespace {

// The whole text as a number; nothing before or behind.
template <class Number>
std::optional<Number> number(std::string_view text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<double> seconds(std::string_view text) {
    constexpr std::pair<char, double> kUnits[] = {{'s', 1}, {'m', 60}, {'h', 3600}};
    double scale = 1;
    for (const auto& [unit, unit_seconds] : kUnits)
        if (text.ends_with(unit)) {
            scale = unit_seconds;
            text.remove_suffix(1);
            break;
        }
    const auto value = number<double>(text);
    if (!value || !(*value > 0) || !std::isfinite(*value * scale)) return std::nullopt;
    return *value * scale;
}

std::string with_hint(std::string message, const std::string& hint) {
    return hint.empty() ? message : message + "; " + hint;
}

}  // namespace

OptionCheck whole_number(int64_t least, int64_t most, std::string hint) {
    return [=](const std::string& text) -> std::string {
        const auto value = number<int64_t>(text);
        if (!value) return with_hint(fmt::format("'{}' is no whole number", text), hint);
        if (*value >= least && *value <= most) return {};
        return with_hint(fmt::format("{} is not within {} to {}", *value, least, most), hint);
    };
}

OptionCheck decimal(double least, double most, std::string hint) {
    return [=](const std::string& text) -> std::string {
        const auto value = number<double>(text);
        if (!value || !std::isfinite(*value))
            return with_hint(fmt::format("'{}' is no number", text), hint);
        if (*value >= least && *value <= most) return {};
        return with_hint(fmt::format("{:g} is not within {:g} to {:g}", *value, least, most), hint);
    };
}

OptionCheck one_of(std::vector<std::string> names) {
    return [names = std::move(names)](const std::string& text) -> std::string {
        if (std::ranges::find(names, text) != names.end()) return {};
        return fmt::format("'{}' is unknown; known: {}", text, fmt::join(names, ", "));
    };
}

OptionCheck not_empty() {
    return [](const std::string& text) -> std::string {
        return text.empty() ? "the value is empty" : "";
    };
}

OptionCheck size_option() {
    return [](const std::string& text) -> std::string {
        const auto bytes = parse_size(text);
        if (bytes && *bytes > 0 && *bytes <= uint64_t{INT64_MAX}) return {};
        return fmt::format("'{}' is no size; write 8G or 512M", text);
    };
}

OptionCheck time_option() {
    return [](const std::string& text) -> std::string {
        return seconds(text) ? "" : fmt::format("'{}' is no time; write 90s, 3m or 1h", text);
    };
}

OptionCheck arch_option() {
    std::vector<std::string> names;
    for (const Arch& arch : known_archs()) names.push_back(arch.name);
    return one_of(std::move(names));
}

OptionCheck backend_option() {
    std::vector<std::string> names;
    for (const Backend& backend : backends()) names.push_back(backend.name);
    names.push_back("reference");
    return one_of(std::move(names));
}

OptionCheck compiler_option() {
    std::vector<std::string> names;
    for (const CompilerKind& kind : compiler_kinds()) names.push_back(kind.name);
    return one_of(std::move(names));
}

double parse_seconds(const std::string& text) { return seconds(text).value(); }

}  // namespace hetune
