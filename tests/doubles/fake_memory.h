// The memory of the HIP double: host memory with red zones, and all addresses ever given out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace hetune::fake {

class FakeMemory {
  public:
    // Null when `limit` bytes would be exceeded.
    void* allocate(size_t bytes, size_t limit);
    // False when it is no live allocation. Freed memory is filled and kept, so that a late access
    // harms nobody else and is recognised.
    bool free(void* address, std::vector<std::string>& misuse);

    // Pinned memory of the host; free() takes it back.
    void* allocate_host(size_t bytes);

    // Memory of the host that the device may use in place.
    void add_host(void* address, size_t bytes);
    bool remove_host(void* address);

    // Empty when [address, address + bytes) lies inside one live allocation, else what is wrong.
    std::string why_not(const void* address, size_t bytes) const;
    // An address inside of freed memory.
    bool is_stale(uint64_t address) const;

    size_t used() const { return used_; }
    int live() const;

  private:
    static constexpr size_t kRedZone = 256;
    struct Block {
        size_t bytes = 0;
        bool live = true;
        bool host = false;
        bool pinned = false;                   // counts for no memory of the device
        std::unique_ptr<std::byte[]> storage;  // red zone, memory, red zone
    };
    const std::pair<const uint64_t, Block>* find(uint64_t address) const;

    std::map<uint64_t, Block> blocks_;  // by address
    size_t used_ = 0;
};

}  // namespace hetune::fake
