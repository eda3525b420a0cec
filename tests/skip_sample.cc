// Test cases for skip_test.sh, which looks at how a binary of them ends.
#include <doctest/doctest.h>

#include <cstdlib>
#include <stdexcept>

#include "tests/skip.h"

namespace hetune::testing {
namespace {

const Need need([] {
    return std::string(std::getenv("HETUNE_SAMPLE_NEED") ? "the sample's need is not met" : "");
});

TEST_CASE("passes") { CHECK(true); }

TEST_CASE("asks to be skipped") { return skip("there is no reason"); }

TEST_CASE("fails") { CHECK(false); }

TEST_CASE("says skipped: and fails") {
    MESSAGE("skipped: words do not count");
    throw std::runtime_error("skipped: an error is none");
}

}  // namespace
}  // namespace hetune::testing
