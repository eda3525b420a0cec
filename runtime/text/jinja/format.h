// Python's two ways to put values into a text.
#pragma once

#include <string>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

// "%s is %05.1f" % values: a tuple, a dict for %(name)s, or one value.
Value format_percent(const Value& pattern, const Value& values);
// "{0} {name!r:>5}".format(...)
Value format_braces(const Value& pattern, const Arguments& arguments);

}  // namespace hetune::jinja
