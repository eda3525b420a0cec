// How values compare: Python's ==, is, < and in, and hash().
#pragma once

#include <cstddef>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

bool equal(const Value& a, const Value& b);  // 1 == 1.0 == true; dicts in any order
bool same(const Value& a, const Value& b);   // Python's `is`
// Below, equal or above zero. Throws Fault for values that Python does not order.
int compare(const Value& a, const Value& b);
bool contains(const Value& haystack, const Value& needle);
size_t hash(const Value& value);  // throws Fault for lists and dicts

}  // namespace hetune::jinja
