// Values as Python prints them, and as JSON.
#pragma once

#include <string>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

std::string repr(const Value& value, int depth = 0);  // {'a': [1, None, True]}
std::string pretty_repr(const Value& value);          // pprint.pformat(): keys sorted, 80 columns
std::string float_text(double value);                 // 1.0, 1e-07, inf
// repr() of a text; `ascii`: escapes what is not ASCII, as ascii() does.
std::string text_repr(std::string_view text, bool ascii = false);

struct JsonStyle {
    std::optional<std::string> indent = {};  // of one level; none: all on one line
    std::string item_separator = ", ";
    std::string key_separator = ": ";
    bool sort_keys = false;
    bool ensure_ascii = false;
};
// json.dumps. Throws Fault for what it refuses, such as undefined values.
std::string json_text(const Value& value, const JsonStyle& style = {});

}  // namespace hetune::jinja
