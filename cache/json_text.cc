#include "cache/json_text.h"

#include <fmt/format.h>

#include <climits>
#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "cache/error.h"
#include "cache/key.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;
using Texts = std::map<std::string, std::string>;

std::string text_of(const Json& json, int indent = -1) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string checksum(const Json& object) {
    const std::string text = text_of(object);
    return content_hash(text.data(), text.size()).hex();
}

// The parts of a text that sealed_json writes without an indent: all in front of the check, where
// the check is right. Seen without writing the object anew.
std::optional<std::string_view> checked_members(std::string_view text) {
    constexpr std::string_view kCheck = R"(,"check":")";
    if (text.ends_with('\n')) text.remove_suffix(1);
    const size_t at = text.rfind(kCheck);
    if (at == text.npos || !text.ends_with("\"}")) return std::nullopt;
    const std::string_view members = text.substr(0, at);
    ContentHash hash;
    hash.add(std::as_bytes(std::span(members)));
    hash.add(std::as_bytes(std::span("}", 1)));
    if (text.substr(at + kCheck.size()) != hash.value().hex() + "\"}") return std::nullopt;
    return members;
}

// Whether brackets outside of strings nest deeper than `depth`. nlohmann's parser, which keeps its
// own stack, could count them in a callback, with which it takes twice as long.
bool nests_deeper(std::string_view text, int depth) {
    int open = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\' ? 1 : 0;
        else if (c == '{' || c == '[')
            ++open;
        else if (c == '}' || c == ']')
            --open;
        if (open > depth) return true;
    }
    return false;
}

// One overload for each type: false where the value is none of that type.
bool read(const Json& json, bool& value) {
    if (json.is_boolean()) value = json.get<bool>();
    return json.is_boolean();
}
bool read(const Json& json, uint64_t& value) {
    if (json.is_number_unsigned()) value = json.get<uint64_t>();
    return json.is_number_unsigned();
}
bool read(const Json& json, int64_t& value) {
    if (!json.is_number_integer() ||
        (json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX))
        return false;
    value = json.get<int64_t>();
    return true;
}
bool read(const Json& json, int& value) {
    int64_t wide = 0;
    if (!read(json, wide) || wide < INT_MIN || wide > INT_MAX) return false;
    value = static_cast<int>(wide);
    return true;
}
bool read(const Json& json, double& value) {
    if (json.is_number()) value = json.get<double>();
    return json.is_number() && std::isfinite(value);
}
bool read(const Json& json, std::string& value) {
    if (json.is_string()) value = json.get<std::string>();
    return json.is_string();
}
bool read(const Json& json, Texts& value) {
    if (!json.is_object()) return false;
    for (const auto& [name, item] : json.items())
        if (!read(item, value[name])) return false;
    return true;
}
template <class T>
bool read(const Json& json, std::vector<T>& value) {
    if (!json.is_array()) return false;
    for (const Json& item : json)
        if (!read(item, value.emplace_back())) return false;
    return true;
}

const Json* member(const Json& object, std::string_view name) {
    if (!object.is_object()) throw CacheError("it is no JSON object");
    const auto found = object.find(name);
    return found == object.end() ? nullptr : &*found;
}

template <class T>
T typed(const Json& json, std::string_view name) {
    T value{};
    if (!read(json, value))
        throw CacheError(fmt::format("its '{}' has a value of the wrong kind", name));
    return value;
}

}  // namespace

Json parse_json(std::string_view text, int depth) try {
    if (nests_deeper(text, depth))
        throw CacheError(fmt::format("it nests deeper than {} levels", depth));
    return Json::parse(text);
} catch (const Json::parse_error& error) {
    throw CacheError(fmt::format("it is no JSON (byte {} of {})", error.byte, text.size()));
} catch (const Json::exception&) {  // a number beyond all bounds
    throw CacheError("it has a number that is none");
}

template <class T>
T json_value(const Json& object, std::string_view name) {
    const Json* json = member(object, name);
    if (json == nullptr) throw CacheError(fmt::format("it lacks '{}'", name));
    return typed<T>(*json, name);
}

template <class T>
T json_value(const Json& object, std::string_view name, T absent) {
    const Json* json = member(object, name);
    return json == nullptr ? std::move(absent) : typed<T>(*json, name);
}

#define HETUNE_JSON_TYPE(T)                                  \
    template T json_value<T>(const Json&, std::string_view); \
    template T json_value<T>(const Json&, std::string_view, T)
HETUNE_JSON_TYPE(bool);
HETUNE_JSON_TYPE(int);
HETUNE_JSON_TYPE(int64_t);
HETUNE_JSON_TYPE(uint64_t);
HETUNE_JSON_TYPE(double);
HETUNE_JSON_TYPE(std::string);
HETUNE_JSON_TYPE(Texts);
HETUNE_JSON_TYPE(std::vector<std::string>);
HETUNE_JSON_TYPE(std::vector<double>);
HETUNE_JSON_TYPE(std::vector<Texts>);
#undef HETUNE_JSON_TYPE

std::string sealed_json(Json object, int indent) {
    // As a reader will see it: bytes that are no UTF-8 are replaced before they are counted.
    object = Json::parse(text_of(object));
    object["check"] = checksum(object);
    return text_of(object, indent);
}

namespace {

// `object`, which was parsed from `text`, without its check.
Json unsealed(Json object, std::string_view text) {
    const auto check = json_value<std::string>(object, "check");
    object.erase("check");
    if (!checked_members(text) && check != checksum(object)) throw CacheError("it is damaged");
    return object;
}

}  // namespace

Json open_sealed_json(std::string_view text) { return unsealed(parse_json(text), text); }

Json open_sealed_json(std::string_view text, std::string_view name, int version) {
    Json object = parse_json(text);
    require_format(object, name, version);
    return unsealed(std::move(object), text);
}

std::optional<SealedParts> split_sealed(std::string_view text, std::string_view last) {
    const auto members = checked_members(text);
    // Within a string the quotes of the name would be escaped, so its first place is a member's.
    const std::string name = fmt::format(",\"{}\":", last);
    const size_t at = members ? members->find(name) : text.npos;
    if (at == text.npos) return std::nullopt;
    return SealedParts{std::string(members->substr(0, at)) + "}",
                       members->substr(at + name.size())};
}

void require_format(const Json& object, std::string_view name, int version) {
    if (const int found = json_value<int>(object, name); found != version)
        throw OtherFormat(found, version);
}

}  // namespace hetune
