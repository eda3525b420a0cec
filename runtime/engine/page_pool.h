// Which pages of KV cache are in use, and by how many. A page is a number; the memory belongs to
// ContextMemory. Each operation takes constant time, throws nothing and allocates nothing.
// One thread at a time.
#pragma once

#include <cstddef>
#include <vector>

namespace hetune {

class PagePool {
  public:
    // Pages 0 to count - 1, all of them free.
    explicit PagePool(int count);

    // A free page, which has one user from now on; -1: no page is free. The page given back last
    // is taken first.
    int take() noexcept;
    // One more user of a page that is in use.
    void share(int page) noexcept;
    // One user less. The page is free when its last user has given it back.
    void give_back(int page) noexcept;

    int count() const noexcept { return static_cast<int>(users_.size()); }
    int free() const noexcept { return static_cast<int>(free_.size()); }
    int users(int page) const noexcept { return users_[static_cast<size_t>(page)]; }

  private:
    std::vector<int> users_;  // [count]
    std::vector<int> free_;   // a stack with room for all pages
};

}  // namespace hetune
