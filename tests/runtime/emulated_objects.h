// gfx1100 objects of a kernel by each compiler at hand.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "runtime/compile/kernel_library.h"
#include "tests/run_store.h"
#include "tests/runtime/emulated_models.h"

namespace hetune::testing {

class EmulatedObjects {
  public:
    explicit EmulatedObjects(const Arch& arch)
        : store_({.folder = run_store()}), library_(arch, store_, read_environment(), "clang") {}

    // The folders COMPILER/ of HETUNE_EMULATE_OBJECTS, where rocm_test leaves hipRTC's and comgr's
    // objects. Throws std::runtime_error where the variable is set and names no such folder.
    static std::vector<std::filesystem::path> others() {
        const char* folder = std::getenv("HETUNE_EMULATE_OBJECTS");
        if (folder == nullptr) return {};
        std::vector<std::filesystem::path> list;
        for (const auto& compiler : std::filesystem::directory_iterator(folder))
            list.push_back(compiler.path());
        if (list.empty()) throw std::runtime_error(std::string(folder) + " is empty");
        return list;
    }

    // Pairs of compiler and object: clang's, and those of the others that are of the same source.
    std::vector<std::pair<std::string, CodeObject>> of(const KernelSpec& spec) {
        std::vector<std::pair<std::string, CodeObject>> list = {
            {"clang", library_.get({spec}).at(0)}};
        const std::string name = object_file_name(library_.source(spec));
        for (const auto& compiler : others()) {
            std::ifstream file(compiler / name, std::ios::binary);
            if (!file) continue;
            const std::string text((std::istreambuf_iterator<char>(file)), {});
            const auto bytes = std::as_bytes(std::span(text));
            list.push_back(
                {compiler.filename(), {.bytes = {bytes.begin(), bytes.end()}, .entry = spec.name}});
        }
        return list;
    }

  private:
    CodeStore store_;
    KernelLibrary library_;
};

}  // namespace hetune::testing
