#include "runtime/oracle/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <vector>

#include "runtime/load/sampling.h"

namespace hetune::reference {
namespace {

// The tokens that are left, the most likely first, with what they were before any cut.
struct Candidate {
    int32_t token;
    float logit;
};

std::vector<float> penalised(std::span<const float> logits, const Sampling& sampling,
                             std::span<const int32_t> history) {
    std::vector<float> values(logits.begin(), logits.end());
    const auto penalty = static_cast<float>(sampling.repeat_penalty);
    const auto recent =
        history.last(std::min(history.size(), static_cast<size_t>(sampling.repeat_window)));
    constexpr float kMost = std::numeric_limits<float>::max();
    for (const int32_t token : std::set<int32_t>(recent.begin(), recent.end())) {
        if (token < 0 || token >= std::ssize(values)) continue;
        float& v = values[static_cast<size_t>(token)];
        if (std::isfinite(v)) v = std::clamp(v > 0 ? v / penalty : v * penalty, -kMost, kMost);
    }
    return values;
}

// Keeps the first candidates, and those that are as likely as the last of them.
void keep(std::vector<Candidate>& candidates, size_t count) {
    while (count < candidates.size() && candidates[count].logit == candidates[count - 1].logit)
        ++count;
    candidates.resize(std::min(count, candidates.size()));
}

void cut_by_mass(std::vector<Candidate>& candidates, double top_p, double& margin) {
    const double peak = candidates[0].logit;
    const auto mass = [&](const Candidate& c) { return std::exp(c.logit - peak); };
    double all = 0;
    for (const Candidate& c : candidates) all += mass(c);
    const double wanted = top_p * all;
    double held = 0;
    size_t count = 0;
    while (count < candidates.size() && held < wanted) {
        const double before = held;
        // Equal ones stay or go together.
        const float logit = candidates[count].logit;
        for (; count < candidates.size() && candidates[count].logit == logit; ++count)
            held += mass(candidates[count]);
        if (held < wanted) continue;
        margin = std::min(margin, (held - wanted) / all);
        if (before > 0) margin = std::min(margin, (wanted - before) / all);  // the first one stays
    }
    keep(candidates, count);
}

void cut_by_share(std::vector<Candidate>& candidates, double min_p, double& margin) {
    const double peak = candidates[0].logit, least = peak + std::log(min_p);
    const double scale = std::max({1.0, std::fabs(peak), std::fabs(least)});
    for (const Candidate& c : candidates)
        if (c.logit != candidates[0].logit)
            margin = std::min(margin, std::fabs(c.logit - least) / scale);
    const auto end = std::ranges::find_if(
        candidates, [&](const Candidate& c) { return c.logit < std::min(least, peak); });
    candidates.erase(end, candidates.end());
}

}  // namespace

// "lowbias32" of C. Wellons, twice.
double uniform(uint32_t seed, uint32_t count) {
    uint32_t h = seed;
    for (int round = 0; round < 2; ++round) {
        h = (h ^ h >> 16) * 0x7feb352du;
        h = (h ^ h >> 15) * 0x846ca68bu;
        h = (h ^ h >> 16) + count * 0x9e3779b9u + 1;
    }
    h = (h ^ h >> 16) * 0x7feb352du;
    h ^= h >> 15;
    return static_cast<double>(h >> 8) / (1 << 24);
}

Draw draw(std::span<const float> logits, const Sampling& sampling, std::span<const int32_t> history,
          uint32_t count) {
    const std::vector<float> values = penalised(logits, sampling, history);
    if (!std::ranges::all_of(values, [](float v) { return std::isfinite(v); }))
        return {.token = kNothingDrawn};

    std::vector<Candidate> candidates;
    for (const float v : values) candidates.push_back({static_cast<int32_t>(candidates.size()), v});
    std::ranges::stable_sort(candidates, std::ranges::greater(), &Candidate::logit);
    // The device computes with floats.
    const auto temperature = static_cast<float>(sampling.temperature);
    if (temperature <= 0) return {.token = candidates[0].token};

    Draw drawn;
    if (sampling.top_k > 0) keep(candidates, static_cast<size_t>(sampling.top_k));
    if (const auto top_p = static_cast<float>(sampling.top_p); top_p < 1)
        cut_by_mass(candidates, top_p, drawn.margin);
    if (const auto min_p = static_cast<float>(sampling.min_p); min_p > 0)
        cut_by_share(candidates, min_p, drawn.margin);

    const double peak = candidates[0].logit;
    std::ranges::sort(candidates, {}, &Candidate::token);
    std::vector<double> reached = {0};
    for (const Candidate& c : candidates)
        reached.push_back(reached.back() + std::exp((c.logit - peak) / temperature));
    const double all = reached.back();
    const double wanted = uniform(sampling.seed, count) * all;
    size_t at = 0;
    while (at + 1 < candidates.size() && reached[at + 1] <= wanted) ++at;
    drawn.token = candidates[at].token;
    drawn.margin = std::min(drawn.margin, std::fabs(reached[at + 1] - wanted) / all);
    if (at > 0) drawn.margin = std::min(drawn.margin, (wanted - reached[at]) / all);
    return drawn;
}

}  // namespace hetune::reference
