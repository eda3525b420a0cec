// JSON that comes from outside of this process: a cache folder, a bundle, another machine. Nothing
// of the text is believed: its depth is bounded, and every value is asked for by type.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace hetune {

// Texts of hetune nest at most 6 deep. nlohmann copies nested values by recursion, so an unbounded
// depth would let a text choose how much stack is used.
constexpr int kJsonDepth = 32;

// Throws CacheError for what is no JSON, and for what nests deeper than `depth`.
nlohmann::ordered_json parse_json(std::string_view text, int depth = kJsonDepth);

// The member `name` of an object. Throws CacheError that names the member where it is absent, of
// another type, or does not fit T. A number never becomes a truth value or a text, nor the other
// way round; a fraction never becomes an integer. T: bool, int, int64_t, uint64_t, double
// (finite), std::string, std::map<std::string, std::string>, and a std::vector of the last three.
template <class T>
T json_value(const nlohmann::ordered_json& object, std::string_view name);
// The same, where the member may be absent.
template <class T>
T json_value(const nlohmann::ordered_json& object, std::string_view name, T absent);

// The text of an object with a checksum of all its members as one more, "check". Spaces and line
// breaks may change without harm; values may not. `indent` as in nlohmann's dump.
std::string sealed_json(nlohmann::ordered_json object, int indent = -1);
// The object of such a text, without "check". Throws CacheError as parse_json does, and for a text
// without a checksum or with the checksum of another.
nlohmann::ordered_json open_sealed_json(std::string_view text);
// The same, where the member `name` is the version of the format. Throws OtherFormat for another
// version than `version`, before the checksum is looked at: another version may have none.
nlohmann::ordered_json open_sealed_json(std::string_view text, std::string_view name, int version);

// A sealed text taken apart without parsing the value of its last member. Nothing where the text is
// not just what sealed_json wrote without an indent, or where `last` is not its last member.
struct SealedParts {
    std::string object;     // the text of the other members, without the check
    std::string_view last;  // the value, as it stands there
};
std::optional<SealedParts> split_sealed(std::string_view text, std::string_view last);

// Throws OtherFormat where the member `name` is another version than `version`.
void require_format(const nlohmann::ordered_json& object, std::string_view name, int version);

}  // namespace hetune
