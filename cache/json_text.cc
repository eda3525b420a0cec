#include "cache/json_text.h"

#include <fmt/format.h>

#include <climits>
#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
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

// Whether `text` is what sealed_json writes without an indent, and its check is right: seen without
// writing the object anew.
bool is_sealed(std::string_view text) {
    constexpr std::string_view kCheck = R"(,"check":")";
    if (text.ends_with('\n')) text.remove_suffix(1);
    const size_t at = text.rfind(kCheck);
    if (at == text.npos || !text.ends_with("\"}")) return false;
    const std::string object = std::string(text.substr(0, at)) + "}";
    return text.substr(at + kCheck.size()) ==
           content_hash(object.data(), object.size()).hex() + "\"}";
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
    const auto found = object.find(std::string(name));
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
    return Json::parse(text, [&](int at, Json::parse_event_t event, Json&) {
        const bool opens =
            event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
        if (opens && at >= depth)
            throw CacheError(fmt::format("it nests deeper than {} levels", depth));
        return true;
    });
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
    if (!is_sealed(text) && check != checksum(object)) throw CacheError("it is damaged");
    return object;
}

}  // namespace

Json open_sealed_json(std::string_view text) { return unsealed(parse_json(text), text); }

Json open_sealed_json(std::string_view text, std::string_view name, int version) {
    Json object = parse_json(text);
    require_format(object, name, version);
    return unsealed(std::move(object), text);
}

void require_format(const Json& object, std::string_view name, int version) {
    if (const int found = json_value<int>(object, name); found != version)
        throw OtherFormat(found, version);
}

}  // namespace hetune
