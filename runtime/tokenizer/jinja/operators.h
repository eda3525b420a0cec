// Arithmetic and joining, as Python has them.
#pragma once

#include <string>

#include "runtime/tokenizer/jinja/value.h"

namespace hetune::jinja {

// `op`: + - * / // % on numbers, + of two texts or two lists, * of one and a number, and ~, which
// joins what both print. Integers do not wrap. Throws Fault.
Value operate(const std::string& op, const Value& a, const Value& b);

}  // namespace hetune::jinja
