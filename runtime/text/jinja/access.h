// Access to parts of a value by a key, a name or a slice.
#pragma once

#include <string>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

// value[key] with Python's rules: negative positions, slices apart; undefined where there is
// nothing. For a text as key also attributes, as Jinja has it.
Value item(const Value& value, const Value& key);
// value.name: a method or an attribute, then an item.
Value attribute(const Value& value, const std::string& name);
// value[from:to:step]; undefined or none where a part is left out.
Value slice(const Value& value, const Value& from, const Value& to, const Value& step);

}  // namespace hetune::jinja
