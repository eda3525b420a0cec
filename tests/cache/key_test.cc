#include "cache/key.h"

#include <doctest/doctest.h>

#include <set>

namespace hetune {
namespace {

TEST_CASE("A key changes with source, options, arch and compiler, and is the same every time") {
    const KeyInputs inputs{"source", "-O3", "gfx1100", "clang 19 id 1"};
    const std::set<CacheKey> keys = {
        make_key(inputs),
        make_key({"source ", "-O3", "gfx1100", "clang 19 id 1"}),
        make_key({"source", "-O2", "gfx1100", "clang 19 id 1"}),
        make_key({"source", "-O3", "gfx1151", "clang 19 id 1"}),
        make_key({"source", "-O3", "gfx1100", "clang 19 id 2"}),
    };
    CHECK(keys.size() == 5);
    CHECK(make_key(inputs) == make_key(inputs));
    // Stored caches and bundles depend on it: a change of the encoding is a new key-version.
    CHECK(make_key(inputs).hex() == "4b5c0960b5a68ffdecf34474c24140c7");
}

TEST_CASE("Text moved from one field to the next gives another key") {
    CHECK(make_key({"ab", "c", "", ""}) != make_key({"a", "bc", "", ""}));
    CHECK(make_key({"", "x", "", ""}) != make_key({"", "", "x", ""}));
    CHECK(make_key({"7:options:1:x", "", "", ""}) != make_key({"", "x", "", ""}));
}

TEST_CASE("A key is read back from exactly its 32 lower-case digits") {
    const CacheKey key{0x0123456789abcdef, 0xf};
    CHECK(key.hex() == "0123456789abcdef000000000000000f");
    CHECK(CacheKey::from_hex(key.hex()) == key);
    for (const char* bad :
         {"", "0123456789abcdef000000000000000", "0123456789ABCDEF000000000000000f",
          "0123456789abcdef000000000000000g", "0123456789abcdef000000000000000f0"})
        CHECK_FALSE(CacheKey::from_hex(bad).has_value());
}

}  // namespace
}  // namespace hetune
