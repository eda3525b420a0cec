// How long a process waits for another one that makes the same thing. One that is stopped (SIGSTOP,
// a debugger, a frozen container) holds its locks for as long as it likes.
#pragma once

#include <chrono>

namespace hetune {

struct PatienceTimes {
    std::chrono::milliseconds quiet{10'000};  // then the user is told what is waited for
    std::chrono::milliseconds all{60'000};    // without progress: then the thing is made twice
};

class Patience {
  public:
    explicit Patience(PatienceTimes times) : times_(times) {}

    // The other one does something: the wait begins anew.
    void progress() { since_ = Clock::now(); }
    // True once, when the user is to be told.
    bool says() {
        if (said_ || Clock::now() - since_ < times_.quiet) return false;
        return said_ = true;
    }
    bool ended() const { return Clock::now() - since_ >= times_.all; }

  private:
    using Clock = std::chrono::steady_clock;
    PatienceTimes times_;
    Clock::time_point since_ = Clock::now();
    bool said_ = false;
};

}  // namespace hetune
