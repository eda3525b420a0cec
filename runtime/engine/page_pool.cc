#include "runtime/engine/page_pool.h"

#include <cassert>
#include <numeric>

namespace hetune {

PagePool::PagePool(int count)
    : users_(static_cast<size_t>(count)), free_(static_cast<size_t>(count)) {
    std::iota(free_.rbegin(), free_.rend(), 0);  // page 0 is taken first
}

int PagePool::take() noexcept {
    if (free_.empty()) return -1;
    const int page = free_.back();
    free_.pop_back();
    users_[static_cast<size_t>(page)] = 1;
    return page;
}

void PagePool::share(int page) noexcept {
    assert(users(page) > 0);
    ++users_[static_cast<size_t>(page)];
}

void PagePool::give_back(int page) noexcept {
    assert(users(page) > 0);
    if (--users_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

}  // namespace hetune
