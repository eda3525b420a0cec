// sample: which token it must draw, and what it leaves for the next step.
#include "runtime/sampling.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "runtime/certify/certifier.h"
#include "runtime/certify/trial.h"

namespace hetune {
namespace {

constexpr int32_t kPosition = 41;

// One draw; gives the token, having looked at everything else.
int32_t draw(Trial& t, const std::vector<float>& logits, const Sampling& sampling,
             const std::vector<int32_t>& history) {
    const std::vector<std::byte> state = sampler_state(sampling, history);
    t.put("logits", logits);
    t.put("state", state);
    t.put("step", std::vector<int32_t>{kPosition, 5});
    t.out_words("tokens", 1, 1);
    t.launch();
    const int32_t token = t.get<int32_t>("tokens")[0];
    const auto step = t.get<int32_t>("step");
    t.same("step", 0, step[0], kPosition + 1);
    t.same("step", 1, step[1], 1);
    const auto after = t.get<std::byte>("state");
    const auto word = [&](int64_t offset) {
        int32_t value;
        std::memcpy(&value, after.data() + offset, sizeof value);
        return value;
    };
    const auto count = static_cast<int32_t>(history.size());
    t.same("state", 0, word(sampler_count_offset()), count + 1);
    t.same("state", 1, word(sampler_history_offset(count)), token);
    return token;
}

void certify_sample(Trial& t) {
    const int64_t vocabulary = t.number("kVocabulary");
    std::vector<float> logits = seeded_floats(static_cast<size_t>(vocabulary), t.random());
    const Sampling greedy{.temperature = 0, .repeat_penalty = 1};
    const std::set<int64_t> peaks = {
        0, 1, vocabulary / 3, vocabulary / 2 + 5, vocabulary - 2, vocabulary - 1};
    for (const int64_t peak : peaks) {
        float& logit = logits[static_cast<size_t>(peak)];
        const float kept = std::exchange(logit, 9.0f);
        t.same("greedy token", peak, draw(t, logits, greedy, {3, 1}), peak);
        logit = kept;
    }
    const int64_t low = vocabulary / 4, high = vocabulary - 1;
    logits[static_cast<size_t>(low)] = logits[static_cast<size_t>(high)] = 8.0f;
    t.same("lower of two", low, draw(t, logits, greedy, {3}), low);
    const Sampling penalty{.temperature = 0, .repeat_penalty = 2};
    t.same("penalised token", high, draw(t, logits, penalty, {static_cast<int32_t>(low)}), high);
    for (uint32_t seed = 1; seed <= 2; ++seed) {
        const Sampling two{.temperature = 1,
                           .top_k = 2,
                           .top_p = 0.9,
                           .min_p = 0.1,
                           .repeat_penalty = 1,
                           .seed = seed};
        const int32_t token = draw(t, logits, two, {});
        t.same("one of two", seed, token == low || token == high ? 1 : 0, 1);
    }
}

const RegisterCertifier kSample{{"sample"}, certify_sample};

}  // namespace
}  // namespace hetune
