#include "runtime/oracle/sequence_state.h"

#include <algorithm>

namespace hetune {

std::vector<SequenceState::Stretch> SequenceState::stretches_of(std::span<const Path> made) {
    std::vector<Stretch> list;
    for (size_t i = 0; i < made.size(); ++i) {
        if (list.empty() || list.back().path != made[i]) list.push_back({0, made[i]});
        list.back().end = static_cast<int64_t>(i) + 1;
    }
    return list;
}

const SequenceState::Stretch& SequenceState::stretch_at(int64_t position) const {
    return *std::ranges::upper_bound(stretches, position, {}, &Stretch::end);
}

void SequenceState::append(std::span<const int32_t> more, Path path) {
    if (more.empty()) return;
    tokens.insert(tokens.end(), more.begin(), more.end());
    stretches.push_back({size(), path});
}

void SequenceState::add_drawn(int32_t token) {
    tokens.push_back(token);
    if (!stretches.empty() && stretches.back().path == Path::kAnswer)
        stretches.back().end = size();
    else
        stretches.push_back({size(), Path::kAnswer});
}

void SequenceState::start_with(std::span<const Stretch> start) {
    const int64_t end = start.back().end;
    const auto rest = std::ranges::upper_bound(stretches, end, {}, &Stretch::end);
    stretches.insert(stretches.erase(stretches.begin(), rest), start.begin(), start.end());
}

void SequenceState::divide(int64_t count) {
    if (count <= 0 || count >= size()) return;
    const auto at = std::ranges::upper_bound(stretches, count - 1, {}, &Stretch::end);
    if (at->path == Path::kPrompt && at->end != count) stretches.insert(at, {count, at->path});
}

void SequenceState::cut(int64_t count) {
    tokens.resize(static_cast<size_t>(count));
    computed = std::min(computed, count);
    if (count == 0) return stretches.clear();
    const auto last = std::ranges::upper_bound(stretches, count - 1, {}, &Stretch::end);
    last->end = count;
    stretches.erase(last + 1, stretches.end());
}

}  // namespace hetune
