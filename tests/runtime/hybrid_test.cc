// A hybrid model with experts: the oracle against llama.cpp's logits.
#include <doctest/doctest.h>

#include "runtime/logits_distance.h"
#include "runtime/reference/reference_engine.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

const std::string kMini = kModels + "/mini35-Q4_K_M.gguf";

TEST_CASE("the oracle gives llama.cpp's float32 logits of a hybrid model with experts") {
    const ModelFile file(kMini);
    ReferenceEngine engine(file, build_layer_graph(file), 512);
    const auto distance =
        compare_logits(exact("mini35-Q4_K_M.exact"), engine.forward(sequence(), true), engine.vocabulary());
    MESSAGE("mean KL ", distance.mean_kl);
    CHECK(distance.mean_kl < 1e-8);
    CHECK(distance.top1 == 100.0);
}

TEST_CASE("the oracle keeps recurrent states over 320 tokens and any cut into steps") {
    const ModelFile file(kMini);
    ReferenceEngine engine(file, build_layer_graph(file), 512);
    const std::vector<int32_t> tokens = sequence("sequence320");
    const auto first = std::span(tokens).first(256), last = std::span(tokens).last(64);
    engine.forward(first.first(101), false);
    engine.forward(first.subspan(101), false);
    const auto distance = compare_logits(exact("mini35-Q4_K_M.exact320"), engine.forward(last, true),
                                         engine.vocabulary());
    MESSAGE("mean KL ", distance.mean_kl);
    CHECK(distance.mean_kl < 1e-8);
}

}  // namespace
}  // namespace hetune
