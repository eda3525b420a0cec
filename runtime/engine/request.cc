#include "runtime/engine/request.h"

#include <utility>

namespace hetune {

bool Request::receive(std::vector<int32_t>& drawn, std::vector<float>& distributions,
                      std::chrono::milliseconds at_most) {
    bool was_full, done;
    {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, at_most, [&] { return done_ || !drawn_.empty(); });
        was_full = drawn_.size() >= kMostUntaken;
        drawn.insert(drawn.end(), drawn_.begin(), drawn_.end());
        distributions.insert(distributions.end(), distributions_.begin(), distributions_.end());
        drawn_.clear();
        distributions_.clear();
        done = done_;
    }
    if (was_full) wake_();
    return done;
}

void Request::stop() {
    stopped_ = true;
    wake_();
}

void Request::finish() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_; });
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void Request::cancel() {
    cancelled_ = true;
    wake_();
}

std::optional<Ending> Request::early_ending() const {
    if (stopped_) return Ending::kCaller;
    if (cancelled_) return Ending::kCancelled;
    if (deadline && std::chrono::steady_clock::now() >= *deadline) return Ending::kDeadline;
    return std::nullopt;
}

bool Request::has_room() {
    const std::lock_guard lock(mutex_);
    return drawn_.size() < kMostUntaken;
}

}  // namespace hetune
