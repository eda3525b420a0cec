// Time by the steady clock.
#pragma once

#include <chrono>

namespace hetune {

class Stopwatch {
  public:
    double ms() const {
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_)
            .count();
    }
    double seconds() const { return ms() / 1000; }
    // Milliseconds since the last call, or the start.
    double lap() {
        const double elapsed = ms();
        start_ = std::chrono::steady_clock::now();
        return elapsed;
    }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace hetune
