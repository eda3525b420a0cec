// How long a compiler that hangs may hold everybody up: twice its limit, and then never again.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>

#include "runtime/compile/compiler.h"

namespace hetune {

// Counts the requests that one compiler left without an answer, for the life of the process.
// Safe to use from several threads.
class CompilerPatience {
  public:
    // `limit` of one request.
    explicit CompilerPatience(std::chrono::milliseconds limit) : limit_(limit) {}

    std::chrono::milliseconds limit() const { return limit_; }
    // Before a request. Throws CompileError{kTimeout} behind the second time-out.
    void check(const std::string& what) const {
        if (hangs_ < kMost) return;
        throw CompileError(CompileError::Cause::kTimeout,
                           fmt::format("{}: not tried, since this compiler gave no answer {} "
                                       "times; HETUNE_COMPILE_TIMEOUT sets the limit of {} s",
                                       what, kMost, limit_.count() / 1000.0));
    }
    void count_hang() { ++hangs_; }

  private:
    // One time-out may be of that kernel alone, two are the compiler's.
    static constexpr int kMost = 2;

    std::chrono::milliseconds limit_;
    std::atomic<int> hangs_ = 0;
};

}  // namespace hetune
