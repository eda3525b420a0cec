// What the cache reports as failed: a bad bundle, a broken index. Damage of single entries is no
// error: such an entry is a miss.
#pragma once

#include <stdexcept>

namespace hetune {

class CacheError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace hetune
