// Time by the steady clock, and by that of the thread.
#pragma once

#include <time.h>

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

// Processor time of the calling thread. A call costs a part of a microsecond.
inline double thread_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

}  // namespace hetune
