// sample: which token it must draw, and what it leaves for the next step.
#include "runtime/load/sampling.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <tuple>
#include <utility>

#include "runtime/load/step_state.h"
#include "runtime/oracle/sampler.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/trial.h"

namespace hetune {
namespace {

constexpr int32_t kSamplePosition = 41;

int32_t slot_of(size_t rows, size_t row) { return static_cast<int32_t>(rows - row); }

// One draw with the state as given, in each row; gives the token, having looked at everything else.
int32_t draw(Trial& t, const std::vector<float>& logits, const std::vector<std::byte>& state,
             bool more) {
    int32_t count;
    std::memcpy(&count, state.data() + sampler_count_offset(), sizeof count);
    // Each row has its slot's own copies of all; the first slot is nobody's.
    const auto rows = static_cast<size_t>(t.rows());
    const auto ring_size = static_cast<size_t>(token_ring_size());
    std::vector<float> all_logits;
    std::vector<std::byte> states(state.size());
    std::vector<StepRow> places;
    for (size_t row = 0; row < rows; ++row) {
        all_logits.insert(all_logits.end(), logits.begin(), logits.end());
        states.insert(states.end(), state.begin(), state.end());
        places.push_back({kSamplePosition + static_cast<int32_t>(row), slot_of(rows, row)});
    }
    t.put("logits", all_logits);
    t.put("state", states);
    t.put("step", step_state(places, {}));
    t.put("ring", std::vector<int32_t>((rows + 1) * ring_size, -7));
    t.out_words("tokens", t.rows(), t.full_rows());
    t.launch();
    const int32_t token = t.get<int32_t>("tokens")[0];
    const auto step = t.get<int32_t>("step");
    t.same("step", 0, step[0], more || rows > 1 ? t.rows() : 0);
    const auto ring = t.get<int32_t>("ring");
    const auto after = t.get<std::byte>("state");
    for (size_t row = 0; row < rows; ++row) {
        const auto slot = static_cast<size_t>(places[row].slot);
        t.same("tokens", static_cast<int64_t>(row), t.get<int32_t>("tokens")[row], token);
        t.same("position", static_cast<int64_t>(row), step_row(step, row).position,
               more ? places[row].position + 1 : -1);
        t.same("slot", static_cast<int64_t>(row), step_row(step, row).slot, places[row].slot);
        for (size_t i = 0; i < ring_size; ++i)
            t.same("ring", static_cast<int64_t>(i), ring[slot * ring_size + i],
                   i == static_cast<size_t>(count) % ring_size ? token : -7);
        int32_t counted;
        std::memcpy(
            &counted,
            after.data() + slot * state.size() + static_cast<size_t>(sampler_count_offset()),
            sizeof counted);
        t.same("count", static_cast<int64_t>(row), counted, count + 1);
    }
    for (size_t i = 0; i < ring_size; ++i) t.same("ring of no row", 0, ring[i], -7);
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

// Rows with likeliest tokens of their own, of which one has ended.
void certify_rows(Trial& t) {
    const auto rows = static_cast<size_t>(t.rows());
    const auto vocabulary = static_cast<size_t>(t.number("kVocabulary"));
    if (rows == 1) return;
    const auto state = sampler_state({.temperature = 0, .repeat_penalty = 1}, {});
    std::vector<float> logits = seeded_floats(rows * vocabulary, t.random());
    std::vector<std::byte> states(state.size());
    std::vector<StepRow> places;
    const size_t ended = rows / 2;
    for (size_t row = 0; row < rows; ++row) {
        logits[row * vocabulary + row * 7 % vocabulary] = 9.0f;
        states.insert(states.end(), state.begin(), state.end());
        places.push_back({row == ended ? -1 : 5, slot_of(rows, row)});
    }
    t.put("logits", logits);
    t.put("state", states);
    t.put("step", step_state(places, {}));
    const auto ring_size = static_cast<size_t>(token_ring_size());
    t.put("ring", std::vector<int32_t>((rows + 1) * ring_size, -7));
    t.put("tokens", std::vector<int32_t>(rows, -7));
    t.launch();
    for (size_t row = 0; row < rows; ++row) {
        const auto wanted = row == ended ? -7 : static_cast<int64_t>(row * 7 % vocabulary);
        t.same("tokens of rows", static_cast<int64_t>(row), t.get<int32_t>("tokens")[row], wanted);
        const auto slot = static_cast<size_t>(places[row].slot);
        t.same("ring of rows", static_cast<int64_t>(row), t.get<int32_t>("ring")[slot * ring_size],
               wanted);
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
    const auto size = static_cast<int64_t>(sampler_state(penalty, {}).size());
    const auto left = t.get<std::byte>("state");
    t.same("token behind the drawn one", high,
           draw(t, logits, {left.end() - size, left.end()}, true), high);
    // The last draw asked for, and an end.
    draw(t, logits, sampler_state(greedy, {}, {.draws = 1}), false);
    const std::vector<int32_t> ends = {5, static_cast<int32_t>(low)};
    draw(t, logits, sampler_state(greedy, {}, {.ends = ends}), false);
    certify_draws(t);
    certify_rows(t);
}

// Outside of a loop: what would be told to it is in the count, which goes on only within the
// rounds.
void certify_repeat(Trial& t) {
    constexpr int32_t kRounds = 3;
    const auto count_behind = [&](int32_t done, int32_t rows) {
        std::vector<int32_t> step = step_state(std::array<StepRow, 1>{}, {});
        step[0] = rows;
        t.put("step", step);
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
    static const Certifier list[] = {{"sample", certify_sample, 4}, {"repeat", certify_repeat, 2}};
    return list;
}

}  // namespace hetune
