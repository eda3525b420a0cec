#include "tools/shard.h"

#include <fmt/format.h>

#include <cstdio>

#include "tools/options.h"

namespace hetune {

Shard parse_shard(const std::string& text) {
    uint64_t number = 0, count = 0;
    int end = 0;
    const int fields = std::sscanf(text.c_str(), "%5lu/%5lu%n", &number, &count, &end);
    if (fields != 2 || static_cast<size_t>(end) != text.size() || number < 1 || number > count)
        throw UsageError(
            fmt::format("--shard '{}' is no part of a whole; the second of four is 2/4", text));
    return {number - 1, count};
}

}  // namespace hetune
