// What templates can call by name. Functions of Python's str and dict that chat templates use,
// and Jinja's own filters and tests: https://jinja.palletsprojects.com/templates. Upper and lower
// case are those of ASCII. All throw Fault.
#pragma once

#include <string_view>

#include "runtime/tokenizer/jinja/value.h"

namespace hetune::jinja {

using Filter = Value (*)(const Value& input, const Arguments& arguments);
using Test = bool (*)(const Value& input, const Arguments& arguments);

// nullptr when hetune lacks it.
Filter find_filter(std::string_view name);
Test find_test(std::string_view name);

// The bound method `value.name`; undefined when the kind of `value` has none of this name.
Value find_method(const Value& value, std::string_view name);

// range, namespace, dict, raise_exception, strftime_now; undefined otherwise.
Value find_global(std::string_view name);

}  // namespace hetune::jinja
