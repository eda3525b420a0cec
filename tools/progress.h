// A progress bar on a terminal, a line for each stage in a log; always on stderr.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>

namespace hetune {

// Any thread may call.
class Progress {
  public:
    ~Progress();
    void update(std::string_view stage, size_t done, size_t total);
    // A line of its own, above the bar.
    void say(const std::string& line);
    // Removes the bar.
    void clear();

  private:
    void erase();

    std::mutex mutex_;
    std::string stage_;
    bool drawn_ = false;
};

}  // namespace hetune
