#include "runtime/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace hetune {

std::string StopStrings::feed(std::string_view text) {
    if (!found_.empty()) return {};
    held_ += text;
    // The one that ends first, since that does not depend on how the text is divided.
    size_t first = std::string::npos, end = std::string::npos;
    for (const std::string& stop : stops_) {
        const size_t at = held_.find(stop);
        if (at == std::string::npos) continue;
        const size_t behind = at + stop.size();
        if (behind > end || (behind == end && at > first)) continue;
        found_ = stop;
        first = at;
        end = behind;
    }
    if (first != std::string::npos) {
        held_.resize(first);
        return std::exchange(held_, {});
    }
    // The longest end of the text with which a stop string begins.
    size_t longest = 0;
    for (const std::string& stop : stops_)
        for (size_t size = std::min(stop.size() - 1, held_.size()); size > longest; --size)
            if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size)))
                longest = size;
    std::string certain = held_.substr(0, held_.size() - longest);
    held_.erase(0, certain.size());
    return certain;
}

std::string StopStrings::flush() { return std::exchange(held_, {}); }

}  // namespace hetune
