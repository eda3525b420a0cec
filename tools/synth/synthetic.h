// Model files with the true shapes of a model and random weights: for tests, benchmarks, capacity
// planning and bug reports without a download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "tools/synth/model_shape.h"

namespace hetune {

struct SyntheticOptions {
    std::string quant = "Q4_K_M";  // see quant_mix.h
    uint64_t seed = 1;
    bool header_only = false;  // for ModelFile::Open::kHeaderOnly
    // Bytes behind the header that were written, of all.
    std::function<void(int64_t done, int64_t total)> progress;
};

// Makes the file with all cores, in memory of some 32 MiB for each, and gives its bytes to `write`
// from front to back, one call at a time but from any thread. Equal arguments give equal files. The
// vocabulary is byte-level, with the pairs of small letters as merges, and filled up with unused
// tokens. Returns the size of the file. Throws what `write` throws.
int64_t write_synthetic(const ModelShape& shape, const SyntheticOptions& options,
                        const std::function<void(std::span<const uint8_t>)>& write);
// Into a regular file, under a temporary name until it is whole. Throws std::runtime_error.
void write_synthetic(const ModelShape& shape, const SyntheticOptions& options,
                     const std::filesystem::path& path);

}  // namespace hetune
