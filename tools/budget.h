// The time that --budget gives a command, from its start on: loading and compiling count.
#pragma once

#include <chrono>
#include <limits>
#include <string>

#include "tools/interrupts.h"
#include "tools/options.h"

namespace hetune {

class Budget {
  public:
    // Begins now. `text` is a value that time_option() takes; empty: no limit.
    explicit Budget(const std::string& text)
        : seconds_(text.empty() ? std::numeric_limits<double>::infinity() : parse_seconds(text)) {}

    double seconds_left() const {
        return seconds_ - std::chrono::duration<double>(Clock::now() - began_).count();
    }
    // Also where a signal has asked for the end. Any thread may ask.
    bool over() const { return interrupted() || seconds_left() <= 0; }

  private:
    using Clock = std::chrono::steady_clock;

    Clock::time_point began_ = Clock::now();
    double seconds_;
};

}  // namespace hetune
