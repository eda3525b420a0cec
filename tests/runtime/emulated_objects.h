// gfx1100 objects of a kernel by each compiler at hand.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "runtime/kernel_library.h"
#include "tests/runtime/emulated_models.h"

namespace hetune::testing {

class EmulatedObjects {
  public:
    explicit EmulatedObjects(const Arch& arch)
        : store_({.folder = HETUNE_BUILD_DIR "/test-cache"}),
          library_(arch, store_, read_environment(), "clang") {
        if (const char* folder = std::getenv("HETUNE_EMULATE_OBJECTS")) others_ = folder;
    }

    // Pairs of compiler and object: clang's, and what lies in the folders COMPILER/ of
    // HETUNE_EMULATE_OBJECTS, where rocm_test leaves hipRTC's and comgr's.
    std::vector<std::pair<std::string, CodeObject>> of(const KernelSpec& spec) {
        std::vector<std::pair<std::string, CodeObject>> list = {
            {"clang", library_.get({spec}).at(0)}};
        if (others_.empty()) return list;
        const std::string name = object_file_name(library_.source(spec));
        for (const auto& compiler : std::filesystem::directory_iterator(others_)) {
            std::ifstream file(compiler.path() / name, std::ios::binary);
            if (!file) continue;
            const std::string text((std::istreambuf_iterator<char>(file)), {});
            const auto bytes = std::as_bytes(std::span(text));
            list.push_back({compiler.path().filename(),
                            {.bytes = {bytes.begin(), bytes.end()}, .entry = spec.name}});
            ++others_found_;
        }
        return list;
    }
    int others_found() const { return others_found_; }

  private:
    CodeStore store_;
    KernelLibrary library_;
    std::filesystem::path others_;
    int others_found_ = 0;
};

}  // namespace hetune::testing
