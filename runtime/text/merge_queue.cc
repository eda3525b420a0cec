#include "runtime/text/merge_queue.h"

#include <algorithm>
#include <functional>

namespace hetune {
namespace {

constexpr size_t kShort = 4096;       // bytes; their heap stays in the first-level cache
constexpr uint32_t kSign = 1u << 31;  // turned round, signed numbers compare as unsigned ones

template <class T>
void push(std::vector<T>& heap, T value) {
    heap.push_back(value);
    std::ranges::push_heap(heap, std::greater<>());
}

template <class T>
T pop(std::vector<T>& heap) {
    std::ranges::pop_heap(heap, std::greater<>());
    const T value = heap.back();
    heap.pop_back();
    return value;
}

}  // namespace

void MergeQueue::reset(size_t bytes) {
    short_ = bytes <= kShort;
    heap_.clear();
    ranks_.clear();
}

void MergeQueue::add(int32_t rank, int32_t left) {
    if (short_) {
        push(heap_,
             uint64_t{static_cast<uint32_t>(rank) ^ kSign} << 32 | static_cast<uint32_t>(left));
        return;
    }
    OneRank& of_rank = ranks_[rank];
    if (of_rank.in_order.empty() || left >= of_rank.in_order.back())
        of_rank.in_order.push_back(left);
    else
        push(of_rank.late, left);
}

std::optional<MergeQueue::Candidate> MergeQueue::take() {
    if (short_) {
        if (heap_.empty()) return std::nullopt;
        const uint64_t best = pop(heap_);
        return Candidate{static_cast<int32_t>(static_cast<uint32_t>(best >> 32) ^ kSign),
                         static_cast<int32_t>(best)};
    }
    const auto first = ranks_.begin();
    if (first == ranks_.end()) return std::nullopt;
    OneRank& best = first->second;
    const bool has_more = best.taken < best.in_order.size();
    const bool late =
        !best.late.empty() && (!has_more || best.late.front() < best.in_order[best.taken]);
    const Candidate candidate{first->first, late ? pop(best.late) : best.in_order[best.taken++]};
    if (best.late.empty() && best.taken == best.in_order.size()) ranks_.erase(first);
    return candidate;
}

}  // namespace hetune
