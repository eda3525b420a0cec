#include "runtime/engine/state_snapshots.h"

#include <algorithm>
#include <limits>

namespace hetune {

StateSnapshots::StateSnapshots(Device& device, const State& state, int count, int64_t context)
    : device_(device), state_(state) {
    if (!has_state() || count == 0) return;
    every_ = std::max<int64_t>(context / (count + 1), 1);
    for (int i = 0; i < count; ++i) free_.push_back(device_.allocate(state_.bytes));
}

void StateSnapshots::keep(int64_t position) {
    if (every_ == 0 || position == 0) return;
    auto at = std::ranges::lower_bound(kept_, position, {}, &Snapshot::position);
    if (at != kept_.end() && at->position == position) return;
    make_room();
    at = std::ranges::lower_bound(kept_, position, {}, &Snapshot::position);
    Snapshot snapshot{position, std::move(free_.back())};
    free_.pop_back();
    device_.copy({*snapshot.copy}, {*state_.buffer, state_.offset}, state_.bytes);
    kept_.insert(at, std::move(snapshot));
}

void StateSnapshots::make_room() {
    if (!free_.empty()) return;
    const auto gap_without = [&](size_t i) {
        return kept_[i + 1].position - (i == 0 ? 0 : kept_[i - 1].position);
    };
    size_t victim = 0;
    for (size_t i = 1; i + 1 < kept_.size(); ++i)
        if (gap_without(i) < gap_without(victim)) victim = i;
    free_.push_back(std::move(kept_[victim].copy));
    kept_.erase(kept_.begin() + static_cast<ptrdiff_t>(victim));
}

bool StateSnapshots::due(int64_t before, int64_t after) const {
    return every_ > 0 && before / every_ != after / every_;
}

int64_t StateSnapshots::until_due(int64_t position) const {
    return every_ > 0 ? every_ - position % every_ : std::numeric_limits<int64_t>::max();
}

void StateSnapshots::forget_beyond(int64_t position) {
    while (!kept_.empty() && kept_.back().position > position) {
        free_.push_back(std::move(kept_.back().copy));
        kept_.pop_back();
    }
}

int64_t StateSnapshots::restore(int64_t position) {
    forget_beyond(position);
    if (kept_.empty()) {
        if (has_state()) device_.fill(*state_.buffer, state_.offset, state_.bytes, 0);
        return 0;
    }
    device_.copy({*state_.buffer, state_.offset}, {*kept_.back().copy}, state_.bytes);
    return kept_.back().position;
}

void StateSnapshots::clear() { restore(0); }

std::vector<int64_t> StateSnapshots::positions() const {
    std::vector<int64_t> list;
    for (const Snapshot& snapshot : kept_) list.push_back(snapshot.position);
    return list;
}

}  // namespace hetune
