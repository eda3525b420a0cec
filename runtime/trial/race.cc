#include "runtime/trial/race.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace hetune {
namespace {

constexpr int kRaceRounds = 9;
constexpr int kFirstRounds = 3;  // of successive halving
constexpr size_t kLeastLeft = 3;

std::vector<size_t> everyone(const Race& race) {
    std::vector<size_t> all(race.size());
    std::iota(all.begin(), all.end(), size_t{0});
    return all;
}

void keep_default(std::vector<size_t>& who) {
    if (std::ranges::find(who, size_t{0}) == who.end()) who.push_back(0);
}

bool exhaustive(Race& race) { return race.round(everyone(race), kRaceRounds); }

// The slower half falls out after each stage, and those left are timed twice as often.
bool successive_halving(Race& race) {
    std::vector<size_t> left = everyone(race);
    for (int rounds = kFirstRounds;; rounds *= 2) {
        if (!race.round(left, rounds)) return false;
        if (left.size() <= kLeastLeft + 1) return true;  // with a default that is none of the best
        left = race.in_order(left);
        left.resize(std::max(kLeastLeft, left.size() / 2));
        keep_default(left);
    }
}

// The third that the cost model likes best.
bool model_guided(Race& race) {
    std::vector<size_t> liked = everyone(race);
    std::ranges::stable_sort(liked, {}, [&](size_t i) { return race.model_us(i); });
    liked.resize(std::min(liked.size(), std::max(kLeastLeft, (liked.size() + 2) / 3)));
    keep_default(liked);
    return race.round(liked, kRaceRounds);
}

constexpr Strategy kStrategies[] = {
    {"exhaustive", "every valid candidate, equally often", exhaustive},
    {"successive-halving", "the slower half falls out, again and again", successive_halving},
    {"model-guided", "the third that the cost model likes best", model_guided},
};

}  // namespace

bool Race::round(std::span<const size_t> who, int times) {
    for (int i = 0; i < times; ++i)
        for (const size_t candidate : who) {
            if (over_()) return false;
            samples_[candidate].push_back(sample_(candidate));
        }
    return true;
}

std::vector<size_t> Race::in_order(std::vector<size_t> who) const {
    std::ranges::stable_sort(who, {}, [&](size_t i) { return timing(i).us; });
    return who;
}

std::span<const Strategy> strategies() { return kStrategies; }

const Strategy& find_strategy(std::string_view name) {
    std::string known;
    for (const Strategy& strategy : kStrategies) {
        if (strategy.name == name) return strategy;
        known += fmt::format("{}{}", known.empty() ? "" : ", ", strategy.name);
    }
    throw std::runtime_error(fmt::format("unknown strategy '{}'; known: {}", name, known));
}

}  // namespace hetune
