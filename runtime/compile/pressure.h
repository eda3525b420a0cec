// How busy this machine is, from Linux's pressure stall information
// (Documentation/accounting/psi.rst in the kernel's source): the share of the last ten seconds in
// which tasks waited for something.
#pragma once

#include <filesystem>

namespace hetune {

struct Pressure {
    double cpu_some = 0;     // percent of time in which a task waited for a processor
    double memory_some = 0;  // ... for memory
    double memory_full = 0;  // percent of time in which all tasks did
};

// Zeros where the kernel does not tell.
Pressure read_pressure(const std::filesystem::path& folder = "/proc/pressure");

// How many compiles to run at once on `cores`: one each; half of that where processors are
// contended for; one alone where memory is short, because a compile takes 100-500 MB.
int compiles_at_once(int cores, const Pressure& pressure);

}  // namespace hetune
