// Why a kernel was compiled: what differs between its key and the nearest one stored before.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/index.h"

namespace hetune {

struct PartDifference {
    std::string name;    // "compiler"
    std::string before;  // empty: the nearest key had no such part
    std::string now;     // empty: this one has none

    bool operator==(const PartDifference&) const = default;
};

struct MissReason {
    ObjectRow nearest;
    std::vector<PartDifference> differences;  // empty: equal parts, another prelude or key version
};

// The nearest of `earlier`: that with the fewest differing parts, the latest of several. Empty when
// there is none: the kernel was new.
std::optional<MissReason> explain_miss(const KeyParts& parts, std::span<const ObjectRow> earlier);

}  // namespace hetune
