// Files of a cache folder that cannot be read, sorted by why.
#pragma once

#include <filesystem>
#include <vector>

#include "cache/error.h"

namespace hetune {

struct LeftOut {
    std::vector<std::filesystem::path> damaged;
    std::vector<std::filesystem::path> older, newer;  // of another version of the format

    // `problem`: why the file was not read.
    void add(const std::filesystem::path& file, const CacheError& problem) {
        const auto* format = dynamic_cast<const OtherFormat*>(&problem);
        (format == nullptr ? damaged : format->is_older() ? older : newer).push_back(file);
    }
};

}  // namespace hetune
