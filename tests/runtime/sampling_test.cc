// The sampler on the device against a plain one, and both against statistics.
#include "runtime/load/sampling.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>

#include "runtime/oracle/sampler.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune {
namespace {

using reference::Draw;
using testing::KernelRun;

KernelSpec sampler(int64_t vocabulary, int waves) {
    return {.name = "sample",
            .constants = {{"kVocabulary", std::to_string(vocabulary)},
                          {"kWaves", std::to_string(waves)}}};
}

struct Drawn {
    int32_t token = 0;       // in the ring
    int32_t next_token = 0;  // the decode step's
    int32_t next_rows = 0;   // of the decode step; 0: nothing runs any more
};

Drawn draw_on_device(const std::vector<float>& logits, int waves, const Sampling& sampling,
                     const std::vector<int32_t>& history, const DrawLimit& limit = {}) {
    KernelRun run(sampler(std::ssize(logits), waves));
    run.in(logits)
        .in(sampler_state(sampling, history, limit))
        .step(7, 1)
        .out(sizeof(int32_t))
        .out(static_cast<size_t>(token_ring_size()) * sizeof(int32_t));
    run.launch({1}, static_cast<uint32_t>(32 * waves));
    const size_t at = first_draw(history.size()) % static_cast<size_t>(token_ring_size());
    return {.token = run.get<int32_t>(4)[at],
            .next_token = run.get<int32_t>(3)[0],
            .next_rows = run.get<int32_t>(2)[0]};
}

// Margins below this are within the rounding of sums and exponentials in float.
constexpr double kRounding = 1e-5;

double chi_squared(const std::vector<double>& counts, const std::vector<double>& expected) {
    double sum = 0;
    for (size_t i = 0; i < counts.size(); ++i)
        sum += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
    return sum;
}

// Beyond this lies one in 10^9 of the results of a sound generator (Wilson and Hilferty).
double chi_squared_limit(double freedom) {
    const double a = 2 / (9 * freedom);
    return freedom * std::pow(1 - a + 6 * std::sqrt(a), 3);
}

TEST_CASE("1,000 draws with random logits and settings are those of the plain sampler") {
    std::mt19937 random(1);
    const auto one_of = [&](auto... values) {
        const std::common_type_t<decltype(values)...> list[] = {values...};
        return list[random() % std::size(list)];
    };
    int decided_by_rounding = 0;
    for (int i = 0; i < 1000; ++i) {
        CAPTURE(i);
        const int64_t vocabulary = one_of(5, 333, 1000);
        const float spread = one_of(0.1f, 2.0f, 10.0f, 300.0f);
        std::vector<float> logits(static_cast<size_t>(vocabulary));
        for (float& v : logits) v = spread * (static_cast<float>(random()) / 4294967296.0f - 0.5f);
        if (i % 3 == 0)  // many equal logits
            for (float& v : logits) v = std::round(v);
        std::vector<int32_t> history(one_of(1, 3, 70, 1500));
        for (int32_t& token : history)
            token = static_cast<int32_t>(random() % static_cast<uint64_t>(vocabulary));
        const Sampling sampling{.temperature = one_of(0.0, 1e-40, 1e-3, 0.3, 0.8, 1.0, 2.0, 100.0),
                                .top_k = one_of(0, 1, 2, 40, 999, 1 << 30),
                                .top_p = one_of(1e-6, 0.1, 0.5, 0.95, 1.0),
                                .min_p = one_of(0.0, 1e-3, 0.05, 0.5, 1.0),
                                .repeat_penalty = one_of(0.5, 1.0, 1.1, 2.0),
                                .repeat_window = one_of(0, 2, 64, 1024),
                                .seed = static_cast<uint32_t>(random())};
        CAPTURE(vocabulary);
        CAPTURE(sampling.temperature);
        CAPTURE(sampling.top_k);
        CAPTURE(sampling.top_p);
        CAPTURE(sampling.min_p);
        CAPTURE(sampling.repeat_penalty);
        const Draw wanted = reference::draw(logits, sampling, history, first_draw(history.size()));
        const Drawn got = draw_on_device(logits, i % 2 == 0 ? 1 : 2, sampling, history);
        if (wanted.margin < kRounding) {
            ++decided_by_rounding;
            continue;
        }
        CHECK(got.token == wanted.token);
        CHECK(got.next_token == wanted.token);
        CHECK(got.next_rows == 1);
    }
    CHECK(decided_by_rounding < 60);  // settings that take all the mass, or share 1, decide so
}

TEST_CASE("no setting draws a token outside of the vocabulary, whatever the logits") {
    constexpr int64_t kVocabulary = 100;
    constexpr float kMost = std::numeric_limits<float>::max();
    std::vector<std::vector<float>> rows;
    for (const float all : {0.0f, -1e-42f, 3e38f, -3e38f, -kMost})
        rows.emplace_back(kVocabulary, all);
    for (const float other : {-kMost, kMost, 88.0f, 1e-42f}) {
        rows.emplace_back(kVocabulary, 0.0f);
        rows.back()[99] = rows.back()[31] = other;
    }
    for (const auto& logits : rows)
        for (const double temperature : {0.0, 5e-324, 1e-40, 1e-30, 1e-8, 1.0, 100.0})
            for (const double min_p : {0.0, 1e-45, 1.0})
                for (const int top_k : {0, 1, 100, 1 << 30}) {
                    const Sampling sampling{.temperature = temperature,
                                            .top_k = top_k,
                                            .top_p = top_k == 1 ? 1e-6 : 0.95,
                                            .min_p = min_p,
                                            .repeat_penalty = top_k == 0 ? 0.01 : 100,
                                            .seed = 3};
                    CAPTURE(logits[0]);
                    CAPTURE(logits[99]);
                    CAPTURE(temperature);
                    CAPTURE(min_p);
                    CAPTURE(top_k);
                    const Drawn drawn = draw_on_device(logits, 1, sampling, {31, 99, 5});
                    CHECK(drawn.token >= 0);
                    CHECK(drawn.token < kVocabulary);
                }
}

TEST_CASE("padding behind the vocabulary is never drawn, and need not be numbers") {
    std::vector<float> logits(100, 0.0f);
    for (size_t i = 60; i < 100; ++i) logits[i] = 50;
    logits[77] = NAN;
    for (const double temperature : {0.0, 1.0, 100.0})
        for (uint32_t seed = 0; seed < 8; ++seed) {
            const Sampling sampling{
                .temperature = temperature, .top_k = 0, .top_p = 1, .min_p = 0, .seed = seed};
            const Drawn drawn = draw_on_device(logits, 2, sampling, {1}, {.vocabulary = 60});
            CHECK(drawn.token < 60);
            CHECK(drawn.token ==
                  reference::draw(std::span(logits).first(60), sampling, std::vector<int32_t>{1}, 1)
                      .token);
        }
}

TEST_CASE("a logit that is no number ends the generation without a token") {
    for (const float bad : {NAN, -NAN, INFINITY, -INFINITY})
        for (const size_t at : {size_t{0}, size_t{33}, size_t{332}})
            for (const double temperature : {0.0, 1.0})
                for (const double penalty : {1.0, 2.0}) {
                    std::vector<float> logits(333, 1.0f);
                    logits[at] = bad;
                    const Sampling sampling{.temperature = temperature, .repeat_penalty = penalty};
                    const std::vector<int32_t> history = {static_cast<int32_t>(at)};
                    CAPTURE(bad);
                    CAPTURE(at);
                    const Drawn drawn = draw_on_device(logits, 2, sampling, history);
                    CHECK(drawn.token == kNothingDrawn);
                    CHECK(drawn.next_rows == 0);
                    CHECK(drawn.next_token == 0);
                    CHECK(reference::draw(logits, sampling, history, 1).token == kNothingDrawn);
                }
}

TEST_CASE("the generator is uniform, and so are pairs of its numbers (chi-squared)") {
    constexpr int kCount = 1 << 16, kBins = 256, kSide = 16;
    for (const uint32_t seed : {0u, 1u, 2u, 12345u, 0x80000000u, 0xffffffffu}) {
        CAPTURE(seed);
        std::vector<double> single(kBins), pairs(kSide * kSide);
        for (uint32_t i = 0; i < kCount; ++i) {
            const double u = reference::uniform(seed, i), v = reference::uniform(seed, i + 1);
            REQUIRE(u >= 0);
            REQUIRE(u < 1);
            ++single[static_cast<size_t>(u * kBins)];
            ++pairs[static_cast<size_t>(u * kSide) * kSide + static_cast<size_t>(v * kSide)];
        }
        const std::vector<double> expected(kBins, kCount / kBins);
        CHECK(chi_squared(single, expected) < chi_squared_limit(kBins - 1));
        CHECK(chi_squared(pairs, expected) < chi_squared_limit(kBins - 1));
    }
    // Neighbouring seeds are independent, too.
    std::vector<double> pairs(kSide * kSide);
    for (uint32_t seed = 0; seed < kCount; ++seed)
        ++pairs[static_cast<size_t>(reference::uniform(seed, 5) * kSide) * kSide +
                static_cast<size_t>(reference::uniform(seed + 1, 5) * kSide)];
    CHECK(chi_squared(pairs, std::vector<double>(kBins, kCount / kBins)) <
          chi_squared_limit(kBins - 1));
}

TEST_CASE("tokens are drawn as often as their probabilities say (chi-squared)") {
    const std::vector<float> logits = {0.1f, -1.0f, 1.5f, 0.0f, 2.0f, -0.5f, 1.0f, -2.0f};
    const Sampling sampling{.temperature = 0.7, .top_k = 5, .top_p = 1, .min_p = 0};
    std::vector<double> shares(logits.size());
    double all = 0;
    for (const size_t kept : {4, 2, 6, 0, 3}) all += shares[kept] = std::exp(logits[kept] / 0.7);
    const auto check = [&](int count, auto draw) {
        std::vector<double> counts(logits.size()), seen, expected;
        for (int i = 0; i < count; ++i) ++counts[static_cast<size_t>(draw(i))];
        for (size_t i = 0; i < shares.size(); ++i) {
            if (shares[i] == 0) {
                CHECK(counts[i] == 0);
                continue;
            }
            seen.push_back(counts[i]);
            expected.push_back(count * shares[i] / all);
        }
        CHECK(chi_squared(seen, expected) < chi_squared_limit(4));
    };
    check(20000, [&](int i) {
        return reference::draw(logits, sampling, {}, static_cast<uint32_t>(i)).token;
    });
    check(1000, [&](int i) {
        Sampling seeded = sampling;
        seeded.seed = static_cast<uint32_t>(i);
        return draw_on_device(logits, 1, seeded, {}).token;
    });
}

TEST_CASE("settings out of range are named as members of Sampling") {
    const auto refuses = [](const Sampling& sampling, const std::string& member) {
        CHECK_THROWS_WITH_AS(check_sampling(sampling),
                             doctest::Contains(("Sampling::" + member).c_str()), OptionError);
    };
    check_sampling({});
    refuses({.temperature = NAN}, "temperature is nan");
    refuses({.temperature = -1}, "temperature is -1; it must be 0 to 100");
    refuses({.top_k = -1}, "top_k");
    refuses({.top_p = 0}, "top_p");
    refuses({.min_p = 1.5}, "min_p");
    refuses({.repeat_penalty = 0}, "repeat_penalty");
    refuses({.repeat_window = 5000}, "repeat_window");
}

}  // namespace
}  // namespace hetune
