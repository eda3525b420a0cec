// Wrong usage in hetune's own words, in the place of CLI11's.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

// The name that `typed` is a slip of; empty when none is near.
std::string nearest(std::string_view typed, const std::vector<std::string>& names);

// One line for the command line that `app` refused: "run: unknown option --tmep; did you mean
// --temp?".
std::string usage_message(const CLI::App& app, const CLI::ParseError& error,
                          const std::vector<std::string>& arguments);

// Wrong usage that CLI11 takes: a flag with a value, as in "--json=3". Empty: none. `app` has
// parsed the arguments.
std::string flag_with_value(const CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace hetune
