// Checks of option values for `->check(...)`. They run while the command line is read, before any
// file is opened: a value that is none ends the command with exit code 2 and one line.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace hetune {

// What is wrong with a value, as "'x' is no size; write 8G or 512M"; empty: nothing.
using OptionCheck = std::function<std::string(const std::string& value)>;

// Digits, with '-' where `least` is negative. `hint` ends the message: "0 keeps all".
OptionCheck whole_number(int64_t least, int64_t most, std::string hint = {});
// A decimal number; neither infinite nor NaN.
OptionCheck decimal(double least = std::numeric_limits<double>::lowest(),
                    double most = std::numeric_limits<double>::max(), std::string hint = {});
OptionCheck one_of(std::vector<std::string> names);
OptionCheck not_empty();    // of files and texts
OptionCheck size_option();  // "8G", above 0
OptionCheck time_option();  // "90", "90s", "3m", "1h", above 0
OptionCheck arch_option();
OptionCheck backend_option();
OptionCheck compiler_option();

// Seconds of a value that time_option() takes.
double parse_seconds(const std::string& text);

// Wrong usage that shows only when several options are seen together: exit code 2.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

}  // namespace hetune
