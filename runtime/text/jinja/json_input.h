// JSON text to values, as Python's json.loads has it: integers of any size, the order of keys.
#pragma once

#include <string>
#include <string_view>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

// Reads without recursion, and stops at kMaxDepth. Throws std::runtime_error that says at which
// byte `text` is no JSON.
Value parse_json(std::string_view text);

}  // namespace hetune::jinja
