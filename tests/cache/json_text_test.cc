#include "cache/json_text.h"

#include <doctest/doctest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "cache/error.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::map<std::string, std::string>;

std::string nested(size_t levels) {
    return std::string(levels, '[') + "1" + std::string(levels, ']');
}

bool is_refused_or_equal(const std::string& text, const Json& wanted) try {
    return open_sealed_json(text) == wanted;  // white space for white space
} catch (const CacheError&) {
    return true;
}

TEST_CASE("A stored text that nests too deeply is an error, however deep it is") {
    CHECK(parse_json(nested(kJsonDepth)).is_array());
    for (const size_t levels : {size_t{kJsonDepth} + 1, size_t{100'000}, size_t{3'000'000}})
        CHECK_THROWS_WITH_AS(parse_json(nested(levels)), "it nests deeper than 32 levels",
                             CacheError);
    CHECK_THROWS_AS(parse_json(std::string(1'000'000, '[')), CacheError);
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
    CHECK_THROWS_AS(parse_json(objects), CacheError);
}

TEST_CASE("Brackets within strings are no depth") {
    const std::string brackets(100, '[');
    CHECK(parse_json("{\"a\": \"" + brackets + "\"}").size() == 1);
    CHECK(parse_json("{\"a\\\"" + brackets + "\": \"\\\\\", \"b\": [1]}").size() == 2);
    CHECK_THROWS_AS(parse_json("{\"a\": \"\\\\\", \"b\": " + nested(32) + "}"), CacheError);
}

TEST_CASE("A stored text that is no JSON is an error that says where it ends to be one") {
    CHECK_THROWS_WITH_AS(parse_json("{\"a\": 1"), "it is no JSON (byte 8 of 7)", CacheError);
    for (const char* text : {"", "nul", "{} {}", "{\"a\": 1e999}", "[1,]", "\xff", "{'a': 1}"})
        CHECK_THROWS_AS(parse_json(text), CacheError);
}

TEST_CASE("Members are read by type, and nothing is turned into another type") {
    const Json json = parse_json(
        R"({"t": "a", "n": -3, "u": 9223372036854775808, "d": 1.5, "b": true, "m": {"x": "y"},
            "l": [{"x": "y"}], "null": null, "mixed": {"x": 1}})");
    CHECK(json_value<std::string>(json, "t") == "a");
    CHECK(json_value<int>(json, "n") == -3);
    CHECK(json_value<double>(json, "n") == -3.0);
    CHECK(json_value<uint64_t>(json, "u") == uint64_t{1} << 63);
    CHECK(json_value<bool>(json, "b"));
    CHECK(json_value<Texts>(json, "m") == Texts{{"x", "y"}});
    CHECK(json_value<std::vector<Texts>>(json, "l").size() == 1);
    CHECK(json_value<int>(json, "absent", 7) == 7);

    CHECK_THROWS_WITH_AS(json_value<int>(json, "absent"), "it lacks 'absent'", CacheError);
    CHECK_THROWS_WITH_AS(json_value<int>(json, "d"), "its 'd' has a value of the wrong kind",
                         CacheError);
    CHECK_THROWS_AS(json_value<int>(json, "u"), CacheError);
    CHECK_THROWS_AS(json_value<int64_t>(json, "u"), CacheError);
    CHECK_THROWS_AS(json_value<uint64_t>(json, "n"), CacheError);
    CHECK_THROWS_AS(json_value<int>(json, "b"), CacheError);
    CHECK_THROWS_AS(json_value<bool>(json, "n"), CacheError);
    CHECK_THROWS_AS(json_value<std::string>(json, "n"), CacheError);
    CHECK_THROWS_AS(json_value<double>(json, "null"), CacheError);
    CHECK_THROWS_AS(json_value<Texts>(json, "mixed"), CacheError);
    CHECK_THROWS_AS(json_value<Texts>(json, "l"), CacheError);
    CHECK_THROWS_AS(json_value<int>(json, "t", 7), CacheError);
    CHECK_THROWS_AS(json_value<int>(parse_json("[1]"), "t"), CacheError);
}

TEST_CASE("A sealed text opens as it was, and every changed value is noticed") {
    const Json object = {{"a", "8"}, {"b", 0.1}, {"c", {{"x", {1, 2}}}}, {"d", "not \xff UTF-8"}};
    for (const int indent : {-1, 1}) {
        const std::string text = sealed_json(object, indent);
        Json wanted = object;
        wanted["d"] = "not \xef\xbf\xbd UTF-8";
        CHECK(open_sealed_json(text) == wanted);
        for (size_t i = 0; i < text.size(); ++i)
            for (int bit = 0; bit < 8; ++bit) {
                std::string flipped = text;
                flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
                CHECK(is_refused_or_equal(flipped, wanted));
            }
    }
    CHECK_THROWS_WITH_AS(open_sealed_json("{\"v\": 1}", "v", 2),
                         "it has format 1, this hetune reads 2", OtherFormat);
    CHECK_THROWS_WITH_AS(open_sealed_json("{\"a\": 1}"), "it lacks 'check'", CacheError);
    CHECK_THROWS_WITH_AS(open_sealed_json("{\"a\": 1, \"check\": \"00\"}"), "it is damaged",
                         CacheError);
}

TEST_CASE(
    "A sealed text is split before its last member, exactly as it was written or not at all") {
    const std::string text = sealed_json({{"a", ",\"z\":"}, {"z", {{"x", {1, 2}}}}});
    const std::string line = text + "\n";  // which `parts` looks into
    const auto parts = split_sealed(line, "z");
    REQUIRE(parts.has_value());
    CHECK(parse_json(parts->object) == Json{{"a", ",\"z\":"}});
    CHECK(parts->last == R"({"x":[1,2]})");
    CHECK_FALSE(split_sealed(text, "y").has_value());
    CHECK_FALSE(split_sealed(sealed_json({{"a", 1}, {"z", 2}}, 1), "z").has_value());
    for (size_t i = 0; i < text.size(); ++i) {
        std::string flipped = text;
        flipped[i] = static_cast<char>(flipped[i] ^ 1);
        CHECK_FALSE(split_sealed(flipped, "z").has_value());
        CHECK_FALSE(split_sealed(text.substr(0, i), "z").has_value());
    }
}

}  // namespace
}  // namespace hetune
