// sample: which token it must draw, and what it leaves for the next step.
#include "runtime/load/sampling.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

#include "runtime/oracle/sampler.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/trial.h"

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
        for (size_t i = 0; i < sizes.size(); ++i) all[static_cast<size_t>(token(i))] = sizes[i];
        return all;
    }
    int64_t token(size_t i) const {
        return std::array{vocabulary / 4, vocabulary - 1, int64_t{0}, vocabulary / 2 + 1}[i];
    }
    int64_t vocabulary;
    std::vector<float> logits;
};

// The oracle's token for each seed: each cut by itself, all of them, and temperatures. Another cut
// or temperature gives the tokens other shares, and so most seeds another token. A draw that the
// rounding of floats could turn is left out.
void certify_draws(Trial& t) {
    if (t.number("kVocabulary") < 16) return;
    constexpr uint32_t kSeeds = 6;
    constexpr double kRounding = 1e-4;  // of float sums over a vocabulary, with room
    const Favourites f(t);
    const Sampling plain{.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1};
    Sampling top_k = plain, top_p = plain, min_p = plain, cold = plain, hot = plain;
    top_k.top_k = 2;
    // Shares 0.34, 0.28, 0.21, 0.17: the first two come to 0.62, the first three to 0.83.
    top_p.top_p = 0.7;
    // Less than 0.4 of the likeliest goes: e^-0.5 is 0.61, e^-1.2 is 0.30.
    min_p.min_p = 0.4;
    cold.temperature = 0.25;
    hot.temperature = 4;
    const Sampling all{.temperature = 0.8, .top_k = 3, .top_p = 0.9, .min_p = 0.1};
    using Sizes = std::array<float, 4>;
    const std::tuple<const char*, Sampling, Sizes> settings[] = {
        {"token without a cut", plain, {2.0f, 1.9f, 1.8f, 1.7f}},
        {"token by top-k", top_k, {2.0f, 1.9f, 1.8f, 1.7f}},
        {"token by top-p", top_p, {2.0f, 1.8f, 1.5f, 1.3f}},
        {"token by min-p", min_p, {2.0f, 1.5f, 0.8f, 0.7f}},
        {"token at temperature 0.25", cold, {2.0f, 1.75f, 1.5f, 1.25f}},
        {"token at temperature 4", hot, {4.0f, 2.0f, 1.0f, 0.0f}},
        {"token by all cuts", all, {2.0f, 1.8f, 1.5f, 1.3f}}};
    for (const auto& [name, setting, sizes] : settings) {
        const std::vector<float> logits = f.with(sizes);
        Sampling sampling = setting;
        for (sampling.seed = 1; sampling.seed <= kSeeds; ++sampling.seed) {
            const reference::Draw wanted = reference::draw(logits, sampling, {}, first_draw(0));
            const int32_t token = draw(t, logits, sampling, {});
            if (wanted.margin > kRounding) t.same(name, sampling.seed, token, wanted.token);
        }
    }
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

}  // namespace

Certifiers sampler_certifiers() {
    static const Certifier list[] = {{"sample", certify_sample, 3}, {"repeat", certify_repeat}};
    return list;
}

}  // namespace hetune
