// Timings of several candidates against each other, and the strategies that decide how many each
// one is worth.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/trial/timing.h"

namespace hetune {

class Race {
  public:
    // `sample(i)` times candidate i once, in microseconds. `model_us`: what the cost model says of
    // each; the first is the default. `over()` true: nothing more is timed.
    Race(std::vector<double> model_us, std::function<double(size_t)> sample,
         std::function<bool()> over)
        : model_us_(std::move(model_us)),
          sample_(std::move(sample)),
          over_(std::move(over)),
          samples_(model_us_.size()) {}

    size_t size() const { return model_us_.size(); }
    double model_us(size_t i) const { return model_us_[i]; }
    // `times` rounds in which each of these is timed once: a drift of the clock meets them all.
    // False when it was over before the end.
    bool round(std::span<const size_t> who, int times);
    Timing timing(size_t i) const { return timing_of(samples_[i]); }
    // Those of `who` from fast to slow.
    std::vector<size_t> in_order(std::vector<size_t> who) const;

  private:
    std::vector<double> model_us_;
    std::function<double(size_t)> sample_;
    std::function<bool()> over_;
    std::vector<std::vector<double>> samples_;
};

struct Strategy {
    const char* name;
    const char* what;
    // Times what is worth it. False when the race was over before the end.
    bool (*run)(Race& race);
};
std::span<const Strategy> strategies();
// Throws std::runtime_error that lists the known ones.
const Strategy& find_strategy(std::string_view name);

}  // namespace hetune
