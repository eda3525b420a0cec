// The cache folder of one run of tests, so that each kernel is compiled once a run and nothing that
// an earlier run stored, a refusal least of all, decides what this one sees.
#pragma once

#include <cstdlib>
#include <filesystem>

#include "tests/cache/test_folder.h"

namespace hetune {

// The folder that HETUNE_TEST_STORE names: ctest empties one before the first test and removes it
// behind the last (tests/CMakeLists.txt). Without the variable, a folder of this process's own.
inline const std::filesystem::path& run_store() {
    static const char* named = std::getenv("HETUNE_TEST_STORE");
    if (named != nullptr) {
        static const std::filesystem::path shared = named;
        return shared;
    }
    static const TestFolder own("hetune-run-store");
    return own.path();
}

}  // namespace hetune
