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

constexpr int32_t kSamplePosition = 41;

// One draw with the state as given; gives the token, having looked at everything else.
int32_t draw(Trial& t, const std::vector<float>& logits, const std::vector<std::byte>& state,
             bool more) {
    int32_t count;
    std::memcpy(&count, state.data() + sampler_count_offset(), sizeof count);
    t.put("logits", logits);
    t.put("state", state);
    t.put("step", std::vector<int32_t>{kSamplePosition, 1});
    t.put("ring", std::vector<int32_t>(static_cast<size_t>(token_ring_size()), -7));
    t.out_words("tokens", 1, 1);
    t.launch();
    const int32_t token = t.get<int32_t>("tokens")[0];
    const auto step = t.get<int32_t>("step");
    t.same("step", 0, step[0], kSamplePosition + 1);
    t.same("step", 1, step[1], more ? 1 : 0);
    const auto ring = t.get<int32_t>("ring");
    for (int32_t i = 0; i < token_ring_size(); ++i)
        t.same("ring", i, ring[static_cast<size_t>(i)],
               i == count % token_ring_size() ? token : -7);
    const auto after = t.get<std::byte>("state");
    int32_t counted;
    std::memcpy(&counted, after.data() + sampler_count_offset(), sizeof counted);
    t.same("count", 0, counted, count + 1);
    return token;
}

int32_t draw(Trial& t, const std::vector<float>& logits, const Sampling& sampling,
             const std::vector<int32_t>& history) {
    return draw(t, logits, sampler_state(sampling, history), true);
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
    // The token that was drawn is in the history of the next draw.
    t.same("token behind none", low, draw(t, logits, penalty, {}), low);
    const auto left = t.get<std::byte>("state");
    t.same("token behind the drawn one", high, draw(t, logits, {left.begin(), left.end()}, true),
           high);
    // The last draw asked for, and an end.
    draw(t, logits, sampler_state(greedy, {}, {.draws = 1}), false);
    const std::vector<int32_t> ends = {5, static_cast<int32_t>(low)};
    draw(t, logits, sampler_state(greedy, {}, {.ends = ends}), false);
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

// Outside of a loop: what would be told to it is in the count, which goes on only within the
// rounds.
void certify_repeat(Trial& t) {
    constexpr int32_t kRounds = 3;
    const auto count_behind = [&](int32_t done, int32_t rows) {
        t.put("step", std::vector<int32_t>{kSamplePosition, rows});
        t.put("loop", std::vector<int32_t>{0, 0, kRounds, done});
        t.launch();
        const auto loop = t.get<int32_t>("loop");
        t.same("rounds", 0, loop[2], kRounds);
        return loop[3];
    };
    t.same("count", 0, count_behind(0, 1), 1);
    t.same("count", 1, count_behind(1, 1), 2);
    t.same("count of the last round", 0, count_behind(kRounds - 1, 1), 0);
    t.same("count where draws stopped", 0, count_behind(1, 0), 0);
}

const RegisterCertifier kRepeat{{"repeat"}, certify_repeat};
const RegisterCertifier kSample{{"sample"}, certify_sample};

}  // namespace
}  // namespace hetune
