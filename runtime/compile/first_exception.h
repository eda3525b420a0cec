// Carries an exception out of threads in which none may leave: those of OpenMP, and std::jthread.
#pragma once

#include <atomic>
#include <exception>

namespace hetune {

// Any thread may call guard() and any(); rethrow() is for the one that started the others, once
// they are done.
class FirstException {
  public:
    // Runs `work` unless an earlier one threw.
    template <class Work>
    void guard(Work&& work) noexcept {
        if (any()) return;
        try {
            work();
        } catch (...) {
            if (!taken_.test_and_set()) {
                first_ = std::current_exception();
                any_.store(true, std::memory_order_release);
            }
        }
    }
    bool any() const { return any_.load(std::memory_order_acquire); }
    void rethrow() const {
        if (any()) std::rethrow_exception(first_);
    }

  private:
    std::atomic_flag taken_;
    std::atomic<bool> any_ = false;
    std::exception_ptr first_;
};

}  // namespace hetune
