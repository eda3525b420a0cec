// The model files of tests/models, what llama.cpp computed for them, and sessions on the CPU
// device.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "runtime/device/cpu_device.h"
#include "tests/run_store.h"
#include "tests/runtime/solo.h"

namespace hetune {

inline const std::string kModels = HETUNE_TEST_MODELS;

// Token ids of "<name>.txt".
inline std::vector<int32_t> sequence(const std::string& name = "sequence") {
    std::ifstream file(kModels + "/" + name + ".txt");
    std::vector<int32_t> tokens;
    for (std::string word; std::getline(file, word, ',');) tokens.push_back(std::stoi(word));
    return tokens;
}

// llama.cpp's logits of the dequantised model in float32, from "<name>.f32".
inline std::vector<float> exact(const std::string& name) {
    std::ifstream file(kModels + "/" + name + ".f32", std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    std::vector<float> logits(bytes.size() / 4);
    std::memcpy(logits.data(), bytes.data(), bytes.size());
    REQUIRE(!logits.empty());
    return logits;
}

// One store for all cases: kernels are compiled once.
inline CodeStore& code_store() {
    static CodeStore instance({.folder = run_store()});
    return instance;
}

// A kernel that does not compile or fails its trial is replaced by others without a word, whose
// logits are as good: a test of a model has to ask.
inline void require_all_kernels(const Solo& session) {
    for (const auto& [kernel, reason] : session.options().refused)
        FAIL_CHECK(kernel, " was refused: ", reason);
    REQUIRE(session.options().refused.empty());
}

// A session on the CPU device, with every kernel of its plans, and what it needs.
struct Loaded {
    ModelFile file;
    std::unique_ptr<Device> device = open_cpu_device(0);
    KernelLibrary library{device->arch(), code_store(), read_environment()};
    Solo session;
    Loaded(const std::string& path, LoadOptions options)
        : file(path), session(file, *device, library, nullptr, std::move(options)) {
        require_all_kernels(session);
    }
};

// Logits of every token, fed one by one.
inline std::vector<float> one_by_one(OneSequence& engine, std::span<const int32_t> tokens) {
    std::vector<float> logits;
    for (const int32_t token : tokens) {
        const auto row = engine.forward(std::span(&token, 1), false);
        logits.insert(logits.end(), row.begin(), row.end());
    }
    return logits;
}

}  // namespace hetune
