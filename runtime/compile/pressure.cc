#include "runtime/compile/pressure.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

namespace hetune {
namespace {

constexpr double kBusyCpu = 80;      // below, the waiting is mostly that of our own compiles
constexpr double kShortMemory = 10;  // percent of time, some task waiting
constexpr double kThrashing = 2;     // percent of time, all tasks waiting

// The value behind "<kind> avg10=".
double average(const std::filesystem::path& file, const std::string& kind) {
    std::ifstream lines(file);
    const std::string start = kind + " avg10=";
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with(start)) return std::strtod(line.c_str() + start.size(), nullptr);
    return 0;
}

}  // namespace

Pressure read_pressure(const std::filesystem::path& folder) {
    return {.cpu_some = average(folder / "cpu", "some"),
            .memory_some = average(folder / "memory", "some"),
            .memory_full = average(folder / "memory", "full")};
}

int compiles_at_once(int cores, const Pressure& pressure) {
    if (pressure.memory_some > kShortMemory || pressure.memory_full > kThrashing) return 1;
    if (pressure.cpu_some > kBusyCpu) cores = (cores + 1) / 2;
    return std::max(1, cores);
}

}  // namespace hetune
