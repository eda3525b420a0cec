#include "runtime/text/stop_strings.h"

#include <doctest/doctest.h>

namespace hetune {
namespace {

// The text of all pieces, as it is given out piece by piece, and the stop string.
struct Given {
    std::vector<std::string> pieces;
    std::string found;
    bool operator==(const Given&) const = default;
};
Given feed(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
    StopStrings strings(stops);
    Given given;
    for (const std::string& piece : pieces) given.pieces.push_back(strings.feed(piece));
    if (strings.found().empty()) given.pieces.push_back(strings.flush());
    given.found = strings.found();
    return given;
}

TEST_CASE("a text stops in front of a stop string, whole or in pieces") {
    CHECK(feed({"END"}, {"one END two"}) == Given{{"one "}, "END"});
    CHECK(feed({"END"}, {"one E", "N", "D two"}) == Given{{"one ", "", ""}, "END"});
    CHECK(feed({"END"}, {"END"}) == Given{{""}, "END"});
    CHECK(feed({"END"}, {"a END", "more", "more"}) == Given{{"a ", "", ""}, "END"});
}

TEST_CASE("what could become a stop string is held back, and given when it does not") {
    CHECK(feed({"END"}, {"one E", "N", "E"}) == Given{{"one ", "", "EN", "E"}, ""});
    CHECK(feed({"END"}, {"EN", "END"}) == Given{{"", "EN"}, "END"});
    CHECK(feed({"aab"}, {"aa", "a", "b"}) == Given{{"", "a", ""}, "aab"});
    CHECK(feed({"END"}, {"to the E"}) == Given{{"to the ", "E"}, ""});
    CHECK(feed({"\n\n"}, {"a\n", "b\n"}) == Given{{"a", "\nb", "\n"}, ""});
}

TEST_CASE("of several stop strings the one that ends first counts, however the text is divided") {
    CHECK(feed({"two", "one"}, {"a one two"}) == Given{{"a "}, "one"});
    CHECK(feed({"ab", "abc"}, {"xabcd"}) == Given{{"x"}, "ab"});
    CHECK(feed({"abc", "ab"}, {"xab", "cd"}) == Given{{"x", ""}, "ab"});
    CHECK(feed({"abcd", "bc"}, {"xabcd"}) == Given{{"xa"}, "bc"});
    CHECK(feed({"bc", "abc"}, {"xabc"}) == Given{{"x"}, "abc"});
    CHECK(feed({"abcd", "bc"}, {"xab", "ce"}) == Given{{"x", "a"}, "bc"});
}

TEST_CASE("without stop strings a text passes as it is") {
    CHECK(feed({}, {"one", " two"}) == Given{{"one", " two", ""}, ""});
}

}  // namespace
}  // namespace hetune
