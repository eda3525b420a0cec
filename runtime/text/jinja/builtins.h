// What templates can call by name. Functions of Python's values, and Jinja's own filters, tests and
// globals: https://jinja.palletsprojects.com/templates. All throw Fault.
#pragma once

#include <string_view>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

using Filter = Value (*)(const Value& input, const Arguments& arguments);
using Test = bool (*)(const Value& input, const Arguments& arguments);

// nullptr when there is none.
Filter find_filter(std::string_view name);
Filter find_text_filter(std::string_view name);    // those of find_filter() that make text
Filter find_number_filter(std::string_view name);  // and those that make numbers
Value urlize(const Value& input, const Arguments& arguments);  // a filter
Test find_test(std::string_view name);

// The bound method `value.name`; undefined when the kind of `value` has none of this name.
Value find_method(const Value& value, std::string_view name);
Value find_text_method(const Value& text, std::string_view name);
Value find_number_method(const Value& number, std::string_view name);
Value find_bytes_method(const Value& bytes, std::string_view name);
Value encode(const Value& text, const Arguments& arguments);  // a method of text
// True for methods of Python that change their list or dict: templates may not call them.
bool changes(const Value& value, std::string_view name);

// range, namespace, dict, cycler, joiner, lipsum, raise_exception, strftime_now; undefined
// otherwise.
Value find_global(std::string_view name);

Value make_bytes(std::string_view bytes);
std::string bytes_of(const Value& value);  // which must be of Kind::kBytes
Value make_range(int64_t begin, int64_t end, int64_t step);

}  // namespace hetune::jinja
