// Test cases whose need is not met. tests/main.cc counts them: a binary ends with 77, which ctest
// shows as skipped (SKIP_RETURN_CODE in tests/CMakeLists.txt), when a case was skipped and none
// failed; with 1 when one failed; and with 1 when a filter left no case to run.
#pragma once

#include <string>

namespace hetune::testing {

// Marks the running test case as skipped and prints the reason. The case then has to return:
//     if (!installed("nginx")) return skip("nginx is not installed");
void skip(const std::string& why);

// A need of all test cases of a binary. Where `why_not` gives a reason, none of them runs.
struct Need {
    using WhyNot = std::string (*)();
    explicit Need(WhyNot why_not);
};

}  // namespace hetune::testing
