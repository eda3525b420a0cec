#include "tools/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "tools/terminal.h"

namespace hetune {
namespace {

constexpr size_t kBarWidth = 30;
constexpr auto kBetweenLines = std::chrono::seconds(5);  // of a log: a load of minutes stays short
constexpr size_t kNamedKernels = 6;                      // in one line

bool stderr_is_terminal() {
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

void Progress::update(std::string_view stage, size_t done, size_t total, double seconds_left,
                      std::string_view rate) {
    const std::lock_guard lock(mutex_);
    const bool fresh = stage != stage_;
    if (fresh) {
        stage_ = stage;
        started_ = Clock::now();
        done_at_start_ = done;
        kernels_.clear();
        last_kernel_.clear();
    }
    done_ = done;
    total_ = total;
    given_seconds_left_ = seconds_left;
    rate_ = rate.empty() ? "" : fmt::format(", {}", rate);
    draw(fresh || done == total);
}

void Progress::compiled(std::string_view kernel) {
    const std::lock_guard lock(mutex_);
    last_kernel_ = kernel;
    ++kernels_[last_kernel_];
    if (!stage_.empty()) draw(false);
}

// Nothing before the first piece is done: there is nothing to go by.
std::string Progress::seconds_left() const {
    double left = given_seconds_left_;
    if (left < 0 && done_ > done_at_start_ && done_ < total_)
        left = std::chrono::duration<double>(Clock::now() - started_).count() /
               static_cast<double>(done_ - done_at_start_) * static_cast<double>(total_ - done_);
    return left > 0 ? fmt::format(", {:.0f} s left", std::ceil(left)) : "";
}

// ": gemv x3, kv_write", of what was compiled since the last line.
std::string Progress::kernels() {
    std::string text;
    size_t named = 0;
    for (const auto& [name, count] : kernels_) {
        if (++named > kNamedKernels) continue;
        text += text.empty() ? ": " : ", ";
        text += count == 1 ? name : fmt::format("{} x{}", name, count);
    }
    if (named > kNamedKernels) text += fmt::format(" and {} more", named - kNamedKernels);
    kernels_.clear();
    return text;
}

void Progress::draw(bool at_once) {
    if (!stderr_is_terminal()) {
        if (!at_once && Clock::now() - last_line_ < kBetweenLines) return;
        last_line_ = Clock::now();
        tell("{} {}/{}{}{}{}\n", stage_, done_, total_, rate_, seconds_left(), kernels());
        return;
    }
    const size_t filled = total_ == 0 ? kBarWidth : std::min(done_ * kBarWidth / total_, kBarWidth);
    tell("\r\033[K{:<8} [{}{}] {}/{}{}{}{}{}", stage_, std::string(filled, '#'),
         std::string(kBarWidth - filled, '.'), done_, total_, rate_, seconds_left(),
         last_kernel_.empty() ? "" : ", ", last_kernel_);
    drawn_ = true;
    if (done_ == total_) erase();
}

void Progress::say(const std::string& line) {
    const std::lock_guard lock(mutex_);
    erase();
    tell("{}\n", line);
}

}  // namespace hetune
