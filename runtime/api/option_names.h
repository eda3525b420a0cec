// Options by name and text, for interfaces that have no structs: hetune_c.h. Not installed.
#pragma once

#include <optional>
#include <string_view>

#include "runtime/api/hetune.h"

namespace hetune {

// GenerateOptions as a caller keeps them for many calls.
struct KeptGenerateOptions {
    GenerateOptions options;                 // without a deadline
    std::optional<double> deadline_seconds;  // from the start of each call

    // The options of a call that starts now.
    GenerateOptions for_call() const;
};

// Sets the member `name` to what `value` says. Throws OptionError where there is no such member,
// with the names of all, and where the text is no value of the member's type. Limits of a value are
// checked where it is used. "stop" adds one text.
void set_option(ModelOptions& options, std::string_view name, std::string_view value);
void set_option(KeptGenerateOptions& options, std::string_view name, std::string_view value);

}  // namespace hetune
