// --shard: one part of a work that several processes share.
#pragma once

#include <cstdint>
#include <string>

namespace hetune {

struct Shard {
    uint64_t index = 0;  // from 0
    uint64_t count = 1;
    bool holds(uint64_t number) const { return number % count == index; }
};

// "2/4" is the second of four. Throws UsageError for what is no part of a whole.
Shard parse_shard(const std::string& text);

}  // namespace hetune
