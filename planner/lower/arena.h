// Offsets in memory that values share, each from its first to its last use.
#pragma once

#include <cstdint>
#include <map>

namespace hetune {

class Arena {
  public:
    // First fit; the arena grows when nothing fits. Offsets are multiples of 256.
    int64_t take(int64_t bytes);
    void give_back(int64_t offset);  // one that take() gave
    int64_t bytes() const { return bytes_; }

  private:
    std::map<int64_t, int64_t> free_;  // offset -> bytes
    std::map<int64_t, int64_t> taken_;
    int64_t bytes_ = 0;
};

}  // namespace hetune
