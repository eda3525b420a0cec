// Whole models on a real GPU, against llama.cpp's logits. Skipped where there is no GPU.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "runtime/oracle/logits_distance.h"
#include "tests/runtime/model_files.h"
#include "tests/skip.h"

namespace hetune {
namespace {

// Backends with a GPU. Where there is none the test case is skipped.
std::vector<std::string> gpu_backends() {
    std::vector<std::string> usable;
    std::string reasons;
    for (const Backend& backend : backends()) {
        if (backend.name != "hip" && backend.name != "cuda") continue;
        const std::string why_not = backend.unavailable();
        if (why_not.empty())
            usable.push_back(backend.name);
        else
            reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", backend.name, why_not);
    }
    if (usable.empty()) testing::skip(reasons);
    return usable;
}

void check_on(const std::string& backend, const char* name) {
    CAPTURE(backend);
    CAPTURE(name);
    const ModelFile file(kModels + "/" + name + ".gguf");
    const auto device = open_device(backend);
    KernelLibrary library(device->arch(), code_store(), read_environment());
    const std::vector<int32_t> tokens = sequence();
    for (const Activations activations : {Activations::kFloat, Activations::kQuantised}) {
        CAPTURE(to_string(activations));
        const bool floats = activations == Activations::kFloat;
        Solo session(file, *device, library, nullptr,
                     {.context = 128,
                      .activations = activations,
                      .kv = floats ? KvType::kF32 : KvType::kF16,
                      .all_logits = true});
        require_all_kernels(session);
        const std::vector<float> wanted = exact(std::string(name) + ".exact");
        // As on the CPU device (model_test): the arithmetic is the same but for the order of sums
        // and the accuracy of a card's exponential.
        const double most = floats ? 1e-6 : 1.5e-3;
        const auto prefill =
            compare_logits(wanted, session.forward(tokens, true), session.vocabulary());
        session.reset();
        const auto decode =
            compare_logits(wanted, one_by_one(session, tokens), session.vocabulary());
        MESSAGE(std::string(name), " ", to_string(activations), ": mean KL ", prefill.mean_kl,
                " in one step, ", decode.mean_kl, " token by token");
        CHECK(prefill.mean_kl < most);
        CHECK(decode.mean_kl < most);
    }
}

// Steps launched one at a time, and several as a loop or one line of launches.
void check_bursts(const std::string& backend, const char* name) {
    CAPTURE(backend);
    CAPTURE(name);
    const ModelFile file(kModels + "/" + name + ".gguf");
    const auto device = open_device(backend);
    KernelLibrary library(device->arch(), code_store(), read_environment());
    std::vector<int32_t> wanted;
    for (const double burst_seconds : {0.0, 1e9}) {
        Solo session(file, *device, library, nullptr,
                     {.context = 256, .burst_seconds = burst_seconds});
        require_all_kernels(session);
        constexpr int64_t kCount = 100;
        std::vector<int32_t> drawn = {
            session.prompt(std::vector<int32_t>{5, 17, 300, 42}, {}, {.draws = kCount})};
        while (static_cast<int64_t>(drawn.size()) < kCount) drawn.push_back(session.next());
        if (wanted.empty())
            wanted = drawn;  // one at a time
        else
            CHECK(drawn == wanted);
    }
}

TEST_CASE("a GPU draws the same tokens in bursts and one at a time") {
    for (const std::string& backend : gpu_backends())
        for (const char* name : {"tiny-Q4_K_M", "mini35-Q4_K_M"}) check_bursts(backend, name);
}

TEST_CASE("a GPU gives llama.cpp's logits of a dense model") {
    for (const std::string& backend : gpu_backends()) check_on(backend, "tiny-Q4_K_M");
}

TEST_CASE("a GPU gives llama.cpp's logits of a hybrid model with experts") {
    for (const std::string& backend : gpu_backends()) check_on(backend, "mini35-Q4_K_M");
}

}  // namespace
}  // namespace hetune
