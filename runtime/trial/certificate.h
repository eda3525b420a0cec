// What one trial of one code object on one device found. A plain value, kept as JSON.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace hetune {

// One output of the kernel against the oracle. Errors are relative to the largest wanted value;
// those of 8-bit blocks are what is beyond the rounding of each block.
struct CertifiedOutput {
    std::string name;
    int64_t samples = 0;
    double worst = 0, mean = 0;
    double tolerance = 0;
    std::array<double, 16> by_row{};  // worst error of the rows (or columns) of each class mod 16

    bool operator==(const CertifiedOutput&) const = default;
};

struct Certificate {
    std::string failure;  // empty: passed
    std::vector<CertifiedOutput> outputs;
    double ms = 0;         // what the trial took
    double launch_ms = 0;  // of it, what the kernel did

    bool passed() const { return failure.empty(); }
    bool operator==(const Certificate&) const = default;
};

nlohmann::ordered_json to_json(const Certificate& certificate);
// Throws CacheError for what is no certificate.
Certificate certificate_of(const nlohmann::ordered_json& json);

}  // namespace hetune
