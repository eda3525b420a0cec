// What the cache reports as failed: a bad bundle, a broken index. Damage of single entries is no
// error: such an entry is a miss.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace hetune {

class CacheError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// A stored thing of another version of its format. The thing may be whole, so nobody calls it
// damaged, and only `hetune cache gc` removes it, where it is older.
class OtherFormat : public CacheError {
  public:
    OtherFormat(int64_t found, int64_t read)
        : CacheError("it has format " + std::to_string(found) + ", this hetune reads " +
                     std::to_string(read)),
          older_(found < read) {}
    bool is_older() const { return older_; }

  private:
    bool older_;
};

}  // namespace hetune
