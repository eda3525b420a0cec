// The `hetune` program as a user runs it.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/cache/test_folder.h"

namespace hetune {

struct CommandResult {
    int status = 0;      // exit code; -1: ended by a signal
    std::string output;  // stdout and stderr
    nlohmann::json json() const { return nlohmann::json::parse(output); }
    int64_t lines() const { return std::ranges::count(output, '\n'); }
    bool says(std::string_view text) const { return output.find(text) != std::string::npos; }
};

// `arguments` are read by the shell, so `2>/dev/null` and the like may stand among them. `cache` is
// the cache's folder; `environment` adds variables, as "A=1 B=2".
inline CommandResult run_hetune(const std::filesystem::path& cache, const std::string& arguments,
                                const std::string& environment = {}) {
    const std::string command =
        fmt::format("{{ HETUNE_CACHE_DIR='{}' HETUNE_CACHE_PATH= {} '{}/bin/hetune' {} ; }} 2>&1",
                    cache.string(), environment, HETUNE_BUILD_DIR, arguments);
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    CommandResult result;
    char buffer[4096];
    for (size_t got; (got = fread(buffer, 1, sizeof(buffer), pipe)) > 0;)
        result.output.append(buffer, got);
    const int status = pclose(pipe);
    result.status = WIFEXITED(status) && WEXITSTATUS(status) < 128 ? WEXITSTATUS(status) : -1;
    return result;
}

}  // namespace hetune
