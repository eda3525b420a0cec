// How far a long work is: a bar on a terminal, lines now and then in a log; always on stderr.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace hetune {

// Any thread may call.
class Progress {
  public:
    ~Progress();
    // `done` of `total` pieces of a stage, and what the rest will take; below 0: as long for each
    // piece as the pieces of this stage took. `rate`, as "81.2 tok/s", stands behind them. In a log
    // a stage has a line at its start and its end, and one every few seconds between.
    void update(std::string_view stage, size_t done, size_t total, double seconds_left = -1,
                std::string_view rate = {});
    // A kernel was compiled: the next line names it.
    void compiled(std::string_view kernel);
    // A line of its own, above the bar.
    void say(const std::string& line);
    // Removes the bar.
    void clear();

  private:
    using Clock = std::chrono::steady_clock;

    void draw(bool at_once);
    void erase();
    std::string seconds_left() const;
    std::string kernels();

    std::mutex mutex_;
    std::string stage_;
    size_t done_ = 0, total_ = 0, done_at_start_ = 0;
    double given_seconds_left_ = -1;
    std::string rate_;  // with ", " in front; empty: none
    Clock::time_point started_, last_line_;
    std::map<std::string, int, std::less<>>
        kernels_;  // compiled since the last line, and how often
    std::string last_kernel_;
    bool drawn_ = false;
};

}  // namespace hetune
