// Names one kernel: a template plus a value for each of its constants and tunables.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>

namespace hetune {

struct KernelSpec {
    std::string name;                              // "gemv": the template file and the entry point
    std::map<std::string, std::string> constants;  // sorted, so equal specs give equal source
    // Tunables stand among the constants; autotune varies those that the template declares tunable.

    auto operator<=>(const KernelSpec&) const = default;

    // "gemv(Quant=Q4_K, kCols=4096, kRows=4096)": for people, logs and the plan's text form.
    std::string to_string() const;
};

// Values of constants as source.
std::string constant(int64_t value);
std::string constant(int value);
std::string constant(bool value);
std::string constant(double value);  // a float literal that reads back to the same float

}  // namespace hetune
