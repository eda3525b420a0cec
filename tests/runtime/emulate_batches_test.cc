// Decode steps of several sequences as gfx1100 objects, on the emulator that HETUNE_EMULATOR names.
// Skipped without one.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "cache/code_store.h"
#include "tests/run_store.h"
#include "tests/runtime/solo.h"
#include "tests/skip.h"

namespace hetune {
namespace {

bool no_emulator() {
    if (!read_environment().emulator.empty()) return false;
    testing::skip("HETUNE_EMULATOR names no program");
    return true;
}

// Sequences of different lengths in the same decode steps, of which one ends before the others,
// beside the same alone. All tokens go through decode plans.
void decode_together_and_alone(const std::string& name) {
    const ModelFile file(HETUNE_TEST_MODELS "/" + name);
    const auto device = open_device("emulator");
    CodeStore store({.folder = run_store()});
    KernelLibrary library(device->arch(), store, read_environment());
    LoadOptions options{.context = 64,
                        .sequences = 3,
                        .prefill_rows = 2,
                        .prefixes = Prefixes::kNone,
                        .memory_limit = 1 << 30};
    SoloModel model(file, *device, library, nullptr, options, LoadProgress(),
                    LoadChecks{.certify = CertifyMode::kOff});
    Stepper& stepper = model.stepper;
    REQUIRE(model.loaded.options().refused.empty());
    REQUIRE(stepper.most_drawn() == 4);
    const std::vector<std::vector<int32_t>> prompts = {{77}, {2001, 5}, {311}};
    constexpr size_t kDraws = 3, kEarlyDraws = 2;  // the second ends early
    const auto begin = [&](OneSequence& sequence, size_t i) {
        SequenceState& state = sequence.state();
        state.append(prompts[i], SequenceState::Path::kAnswer);
        stepper.prepare(state, true);
        compute_all(stepper, state);
        stepper.draw_first(state, {.temperature = 0},
                           {.draws = i == 1 ? static_cast<int32_t>(kEarlyDraws) : 0});
    };
    const auto length = [&](size_t i) {
        return prompts[i].size() + (i == 1 ? kEarlyDraws : kDraws);
    };
    std::vector<std::vector<int32_t>> alone;
    for (size_t i = 0; i < prompts.size(); ++i) {
        OneSequence sequence(stepper);
        begin(sequence, i);
        while (sequence.tokens().size() < length(i)) draw_some(stepper, sequence.state());
        alone.emplace_back(sequence.tokens().begin(), sequence.tokens().end());
    }
    std::vector<std::unique_ptr<OneSequence>> sequences;
    std::vector<SequenceState*> states;
    for (size_t i = 0; i < prompts.size(); ++i) {
        sequences.push_back(std::make_unique<OneSequence>(stepper));
        begin(*sequences.back(), i);
        states.push_back(&sequences.back()->state());
    }
    for (size_t draw = 1; draw < kDraws; ++draw) stepper.draw(states);
    for (size_t i = 0; i < prompts.size(); ++i) {
        const auto tokens = sequences[i]->tokens();
        CHECK(std::vector<int32_t>(tokens.begin(), tokens.end()) == alone[i]);
    }
}

TEST_CASE("Emulated gfx1100 decodes sequences of the tiny model together as each alone") {
    if (!no_emulator()) decode_together_and_alone("tiny-Q4_K_M.gguf");
}

TEST_CASE("Emulated gfx1100 decodes sequences of a hybrid model together as each alone") {
    if (!no_emulator()) decode_together_and_alone("mini35-Q4_K_M.gguf");
}

}  // namespace
}  // namespace hetune
