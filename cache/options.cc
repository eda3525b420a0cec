#include "cache/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <set>

#include "cache/error.h"

namespace hetune {
namespace {

// Empty counts as unset, as in the XDG specification.
std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

std::filesystem::path default_folder(const WarnFunction& warn) {
    if (const std::string folder = variable("HETUNE_CACHE_DIR"); !folder.empty()) {
        std::error_code error;
        const auto path = std::filesystem::absolute(folder, error);
        if (error && warn)
            warn(
                fmt::format("cache: HETUNE_CACHE_DIR={} is relative to a working folder that is "
                            "not there ({}): kernels are kept in memory only",
                            folder, error.message()));
        return path;
    }
    // A relative XDG_CACHE_HOME is to be ignored, by its specification.
    const std::filesystem::path xdg = variable("XDG_CACHE_HOME");
    if (xdg.is_absolute()) return xdg / "hetune";
    const std::filesystem::path home = variable("HOME");
    if (home.is_absolute()) return home / ".cache" / "hetune";
    if (warn)
        warn(
            "cache: neither HETUNE_CACHE_DIR nor HOME is set: kernels are kept in memory only; "
            "set HETUNE_CACHE_DIR to a folder of yours");
    return {};
}

void read_size(const char* name, uint64_t& size, const WarnFunction& warn) {
    const std::string text = variable(name);
    if (text.empty()) return;
    if (const auto value = parse_size(text)) {
        size = *value;
    } else if (warn) {
        warn(fmt::format("cache: {}={} is no size such as 500M or 2G: {} bytes are used", name,
                         text, size));
    }
}

Trust read_trust(const WarnFunction& warn) {
    try {
        return parse_trust(variable("HETUNE_TRUSTED_KEYS"));
    } catch (const CacheError& error) {
        if (warn)
            warn(fmt::format("cache: {}: no bundle and no remote object is used", error.what()));
        return {.required = true};
    }
}

WarnFunction each_line_once(WarnFunction warn) {
    if (!warn) return warn;
    struct Said {
        std::mutex mutex;
        std::set<std::string> lines;
    };
    return [warn = std::move(warn), said = std::make_shared<Said>()](const std::string& line) {
        const std::scoped_lock lock(said->mutex);
        if (said->lines.insert(line).second) warn(line);
    };
}

}  // namespace

std::optional<uint64_t> parse_size(std::string_view text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
    std::string_view unit(end, text.data() + text.size() - end);
    if (unit.ends_with('B')) unit.remove_suffix(1);
    if (unit.ends_with('i')) unit.remove_suffix(1);
    constexpr std::string_view kUnits = "KMGT";
    if (unit.size() > 1) return std::nullopt;
    if (unit.size() == 1) {
        const size_t power = kUnits.find(unit[0] & ~0x20);
        if (power == std::string_view::npos) return std::nullopt;
        number = std::ldexp(number, 10 * static_cast<int>(power + 1));
    }
    if (number >= std::ldexp(1.0, 63)) return std::nullopt;
    return static_cast<uint64_t>(number);
}

CacheOptions cache_options_from_environment(WarnFunction warn) {
    warn = each_line_once(std::move(warn));
    CacheOptions options;
    options.folder = default_folder(warn);
    const std::string layers = variable("HETUNE_CACHE_PATH");
    for (size_t start = 0; start < layers.size();) {
        const size_t end = std::min(layers.find(':', start), layers.size());
        if (end > start) options.layers.emplace_back(layers.substr(start, end - start));
        start = end + 1;
    }
    options.trust = read_trust(warn);
    options.remote = {variable("HETUNE_REMOTE_CACHE"), variable("HETUNE_REMOTE_TRUST") == "1",
                      variable("HETUNE_SIGN_KEY")};
    read_size("HETUNE_CACHE_SIZE", options.max_bytes, warn);
    read_size("HETUNE_TILES_SIZE", options.max_tile_bytes, warn);
    options.warn = std::move(warn);
    return options;
}

}  // namespace hetune
