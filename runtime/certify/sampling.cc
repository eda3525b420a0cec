// sample: which token it must draw, and what it leaves for the next step.
#include "runtime/sampling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
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

// Four tokens above all others, at both ends of the vocabulary and between, in the order of their
// logits. The others' weights come to nothing.
struct Favourites {
    explicit Favourites(Trial& t) : vocabulary(t.number("kVocabulary")) {
        logits = seeded_floats(static_cast<size_t>(vocabulary), t.random());
        for (float& logit : logits) logit -= 80.0f;
    }
    std::vector<float> with(const std::array<float, 4>& sizes) const {
        std::vector<float> all = logits;
        for (size_t i = 0; i < sizes.size(); ++i)
            if (std::isfinite(sizes[i])) all[static_cast<size_t>(token(i))] = sizes[i];
        return all;
    }
    int64_t token(size_t i) const {
        return std::array{vocabulary / 4, vocabulary - 1, int64_t{0}, vocabulary / 2 + 1}[i];
    }
    int64_t vocabulary;
    std::vector<float> logits;
};

// How often each of the four is drawn by `seeds` seeds; another token is a failure.
std::array<int, 4> frequencies(Trial& t, const Favourites& f, const std::vector<float>& logits,
                               Sampling sampling, uint32_t seeds) {
    std::array<int, 4> counts{};
    for (sampling.seed = 1; sampling.seed <= seeds; ++sampling.seed) {
        const int32_t token = draw(t, logits, sampling, {});
        bool known = false;
        for (size_t i = 0; i < counts.size(); ++i)
            if (token == f.token(i)) {
                ++counts[i];
                known = true;
            }
        t.same("one of four", sampling.seed, known ? 1 : 0, 1);
    }
    return counts;
}

// Each cut by itself, and temperatures by how often they let the less likely of two through: of 64
// draws 3 are expected at 0.25, 20 at 4, and 20 and 3 at 1. Bounds are 3.4 deviations or more from
// what is right, and draws follow from their seeds, so that a right kernel never fails.
void certify_draws(Trial& t) {
    if (t.number("kVocabulary") < 16) return;
    const Favourites f(t);
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const Sampling plain{
        .temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 1};
    const auto drawn = [&](const char* name, const std::array<float, 4>& logits,
                           const Sampling& sampling, uint32_t seeds, int kept) {
        const auto counts = frequencies(t, f, f.with(logits), sampling, seeds);
        for (int i = 0; i < 4; ++i)
            t.same(name, i, counts[static_cast<size_t>(i)] > 0 ? 1 : 0, i < kept ? 1 : 0);
    };
    Sampling cut = plain;
    drawn("without a cut", {2.0f, 1.9f, 1.8f, 1.7f}, cut, 32, 4);
    cut.top_k = 2;
    drawn("top-k", {2.0f, 1.9f, 1.8f, 1.7f}, cut, 16, 2);
    // Shares 0.34, 0.28, 0.21, 0.17: the first two come to 0.62, the first three to 0.83.
    cut = plain;
    cut.top_p = 0.7;
    drawn("top-p", {2.0f, 1.8f, 1.5f, 1.3f}, cut, 24, 3);
    // Less than 0.4 of the likeliest goes: e^-0.5 is 0.61, e^-1.2 is 0.30.
    cut = plain;
    cut.min_p = 0.4;
    drawn("min-p", {2.0f, 1.5f, 0.8f, 0.7f}, cut, 16, 2);

    Sampling warm = plain;
    warm.temperature = 0.25;
    const int cold = frequencies(t, f, f.with({2.0f, 1.25f, kNone, kNone}), warm, 64)[1];
    t.same("draws at temperature 0.25", 0, cold <= 10 ? 1 : 0, 1);
    warm.temperature = 4;
    const int hot = frequencies(t, f, f.with({4.0f, 1.0f, kNone, kNone}), warm, 64)[1];
    t.same("draws at temperature 4", 0, hot >= 8 && hot <= 33 ? 1 : 0, 1);
}

void certify_sample(Trial& t) {
    const int64_t vocabulary = t.number("kVocabulary");
    std::vector<float> logits = seeded_floats(static_cast<size_t>(vocabulary), t.random());
    const Sampling greedy{.temperature = 0, .repeat_penalty = 1};
    const auto last = static_cast<int32_t>(vocabulary - 1);
    const std::vector<int32_t> some = {std::min(3, last), std::min(1, last)};
    const std::set<int64_t> peaks = {
        0, 1, vocabulary / 3, vocabulary / 2 + 5, vocabulary - 2, vocabulary - 1};
    for (const int64_t peak : peaks) {
        if (peak < 0 || peak > last) continue;  // of a small vocabulary
        float& logit = logits[static_cast<size_t>(peak)];
        const float kept = std::exchange(logit, 9.0f);
        t.same("greedy token", peak, draw(t, logits, greedy, some), peak);
        logit = kept;
    }
    const int64_t low = vocabulary / 4, high = vocabulary - 1;
    logits[static_cast<size_t>(low)] = logits[static_cast<size_t>(high)] = 8.0f;
    t.same("lower of two", low, draw(t, logits, greedy, some), low);
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
    certify_draws(t);
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
const RegisterCertifier kSample{{"sample"}, certify_sample, 2};

}  // namespace
}  // namespace hetune
