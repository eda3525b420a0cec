// Arithmetic and joining, as Python has them.
#pragma once

#include <string>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

// `op`: + - * / // % ** on numbers, + of two texts, lists or tuples, * of one and a number, % of a
// text and what it formats, and ~, which joins what both print. Throws Fault.
Value operate(const std::string& op, const Value& a, const Value& b);
Value negated(const Value& value);  // -value

}  // namespace hetune::jinja
