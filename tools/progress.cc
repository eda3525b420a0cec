#include "tools/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "tools/terminal.h"

namespace hetune {
namespace {

constexpr size_t kWidth = 30;

bool on_terminal() {
    static const bool answer = isatty(STDERR_FILENO) != 0;
    return answer;
}

}  // namespace

Progress::~Progress() { erase(); }

void Progress::clear() {
    const std::lock_guard lock(mutex_);
    erase();
}

void Progress::erase() {
    if (drawn_) tell("\r\033[K");
    drawn_ = false;
}

void Progress::update(std::string_view stage, size_t done, size_t total) {
    const std::lock_guard lock(mutex_);
    if (!on_terminal()) {
        const bool fresh = stage != stage_;
        stage_ = stage;
        if (fresh || done == total) tell("{} {}/{}\n", stage, done, total);
        return;
    }
    const size_t filled = total == 0 ? kWidth : done * kWidth / total;
    tell("\r\033[K{:<8} [{}{}] {}/{}", stage, std::string(filled, '#'),
         std::string(kWidth - filled, '.'), done, total);
    drawn_ = true;
    if (done == total) erase();
}

void Progress::say(const std::string& line) {
    const std::lock_guard lock(mutex_);
    erase();
    tell("{}\n", line);
}

}  // namespace hetune
