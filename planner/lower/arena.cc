#include "planner/lower/arena.h"

#include <algorithm>
#include <cassert>
#include <iterator>

namespace hetune {
namespace {

constexpr int64_t kArenaAlign = 256;

int64_t aligned(int64_t bytes) { return (bytes + kArenaAlign - 1) / kArenaAlign * kArenaAlign; }

}  // namespace

int64_t Arena::take(int64_t bytes) {
    bytes = aligned(std::max<int64_t>(bytes, 1));
    auto at = std::ranges::find_if(free_, [&](const auto& hole) { return hole.second >= bytes; });
    int64_t offset;
    if (at != free_.end()) {
        offset = at->first;
        if (at->second > bytes) free_[offset + bytes] = at->second - bytes;
        free_.erase(offset);
    } else {
        // A hole at the end of the arena grows with it.
        offset = bytes_;
        if (!free_.empty()) {
            const auto last = std::prev(free_.end());
            if (last->first + last->second == bytes_) {
                offset = last->first;
                free_.erase(last);
            }
        }
        bytes_ = offset + bytes;
    }
    taken_[offset] = bytes;
    return offset;
}

void Arena::give_back(int64_t offset) {
    const auto taken = taken_.find(offset);
    assert(taken != taken_.end());
    auto hole = free_.emplace(offset, taken->second).first;
    taken_.erase(taken);
    if (const auto next = std::next(hole);
        next != free_.end() && hole->first + hole->second == next->first) {
        hole->second += next->second;
        free_.erase(next);
    }
    if (hole != free_.begin()) {
        const auto before = std::prev(hole);
        if (before->first + before->second == hole->first) {
            before->second += hole->second;
            free_.erase(hole);
        }
    }
}

}  // namespace hetune
