// JSON as commands print it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace hetune {

// File names and texts of a model need not be UTF-8: bytes that are none become U+FFFD, where
// dump() alone would throw.
inline std::string json_text(const nlohmann::ordered_json& json, int indent = 2) {
    return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace hetune
