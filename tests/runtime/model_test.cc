// A whole model: the oracle against llama.cpp's logits, the compiled engine against both.
#include <doctest/doctest.h>

#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

TEST_CASE("the oracle gives llama.cpp's float32 logits") {
    const ModelFile file(kModels + "/tiny-Q4_K_M.gguf");
    ReferenceEngine engine(file, build_layer_graph(file), 512);
    const auto distance = compare_logits(exact("tiny-Q4_K_M.exact"),
                                         oracle_logits(engine, sequence()), engine.vocabulary());
    CHECK(distance.mean_kl < 1e-8);
    CHECK(distance.top1 == 100.0);
}

TEST_CASE("the compiled model gives the same logits, fused and not, by chunks and token by token") {
    const std::vector<int32_t> tokens = sequence();
    const std::vector<float> wanted = exact("tiny-Q4_K_M.exact");
    for (const bool fusion : {false, true})
        for (const Activations activations : {Activations::kFloat, Activations::kQuantised}) {
            CAPTURE(fusion);
            CAPTURE(to_string(activations));
            const bool floats = activations == Activations::kFloat;
            Loaded loaded(kModels + "/tiny-Q4_K_M.gguf",
                          {.context = 256,
                           .prefill_rows = 24,
                           .fusion = fusion,
                           .activations = activations,
                           .kv = floats ? KvType::kF32 : KvType::kF16,
                           .all_logits = true});
            Solo& session = loaded.session;
            // Floats: another order of sums, 1.4e-12 measured. 8 bits: 3.5e-4 measured over all
            // rows. The row at the end may have twice the bound, since one row is no mean.
            const double max_kl = floats ? 1e-8 : 1.5e-3;
            const double least_top1 = floats ? 100.0 : 93.0;
            const auto chunks =
                compare_logits(wanted, session.forward(tokens, true), session.vocabulary());
            CHECK(chunks.mean_kl < max_kl);
            CHECK(chunks.top1 >= least_top1);
            MESSAGE("mean KL ", chunks.mean_kl, " top-1 ", chunks.top1);

            session.reset();
            const std::vector<float> single = one_by_one(session, tokens);
            const auto steps = compare_logits(wanted, single, session.vocabulary());
            CHECK(steps.mean_kl < max_kl);
            CHECK(steps.top1 >= least_top1);

            session.reset();
            const auto last = session.forward(tokens, false);
            CHECK(last.size() == static_cast<size_t>(session.vocabulary()));
            const auto prefill =
                compare_logits(std::span(wanted).last(last.size()), last, session.vocabulary());
            CHECK(prefill.mean_kl < 2 * max_kl);
        }
}

}  // namespace
}  // namespace hetune
