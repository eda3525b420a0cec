// Model files with the true shapes of a model and random weights: for tests, benchmarks, capacity
// planning and bug reports without a download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "planner/synth/model_shape.h"

namespace hetune {

struct SyntheticOptions {
    std::string quant = "Q4_K_M";  // see quant_mix.h
    uint64_t seed = 1;
    bool header_only = false;  // for ModelFile::Open::kHeaderOnly
    // Bytes of tensors written, of all.
    std::function<void(int64_t done, int64_t total)> progress;
};

// Writes the file with all cores, in memory of some 32 MiB for each, under a temporary name until
// it is whole. Equal arguments give equal files. The vocabulary is byte-level, with the pairs of
// small letters as merges, and filled up with unused tokens. Throws std::runtime_error.
void write_synthetic(const ModelShape& shape, const SyntheticOptions& options,
                     const std::filesystem::path& path);

}  // namespace hetune
