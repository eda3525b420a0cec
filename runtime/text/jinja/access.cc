#include "runtime/text/jinja/access.h"

#include <algorithm>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

// Python's name of a type in messages of Jinja: "'dict object' has no attribute 'x'".
std::string owner(const Value& value) {
    return value.is_none() ? "None" : value.type() + " object";
}

Value missing(const Value& value, const Value& key) {
    if (key.is_text())
        return Value::undefined(
            fmt::format("'{}' has no attribute {}", owner(value), text_repr(key.as_text())));
    return Value::undefined(fmt::format("{} has no element {}", owner(value), repr(key)));
}

std::optional<Value> at(const std::vector<Value>& items, int64_t position) {
    const auto size = static_cast<int64_t>(items.size());
    if (position < 0) position += size;
    if (position < 0 || position >= size) return {};
    return items[static_cast<size_t>(position)];
}

// value[key] proper; none where Python raises a LookupError or a TypeError.
std::optional<Value> subscript(const Value& value, const Value& key) {
    if (const Dict* dict = value.dict()) {
        if (key.is_list() || key.is_dict()) return {};
        const Value* found = dict->find(key);
        return found == nullptr ? std::nullopt : std::optional(*found);
    }
    if (!key.is_whole() || !value.has_positions() || !key.as_integer().is_small()) return {};
    if (!value.is_text()) return at(value.sequence()->items, key.as_int64());
    const auto all = characters(value.as_text());
    const auto size = static_cast<int64_t>(all.size());
    const int64_t position = key.as_int64() < 0 ? key.as_int64() + size : key.as_int64();
    if (position < 0 || position >= size) return {};
    return Value::text(std::string(all[static_cast<size_t>(position)]), value.is_safe());
}

// A method or attribute proper. One that Jinja's sandbox closes is a value that nothing may be
// done with.
std::optional<Value> member(const Value& value, const std::string& name) {
    std::optional<Value> found;
    if (Object* object = value.object()) found = object->attribute(name);
    if (!found)
        if (Value method = find_method(value, name); !method.is_undefined())
            found = std::move(method);
    const bool internal = name.starts_with("__") && name.ends_with("__");
    if (found || !(internal || changes(value, name))) return found;
    return Value::undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, value.type()));
}

// Python's rule for one end of a slice: negative counts from the end, then clamp to [low, high].
int64_t slice_end(const Value& end, int64_t fallback, int64_t size, int64_t low, int64_t high) {
    if (end.is_undefined() || end.is_none()) return fallback;
    const Integer at = end.as_integer();
    if (!at.is_small()) return Integer::compare(at, Integer(0)) < 0 ? low : high;
    return std::clamp(at.small() < 0 ? at.small() + size : at.small(), low, high);
}

}  // namespace

Value item(const Value& value, const Value& key) {
    value.need_defined();
    if (auto found = subscript(value, key)) return *std::move(found);
    if (key.is_text())
        if (auto found = member(value, key.as_text())) return *std::move(found);
    return missing(value, key);
}

Value attribute(const Value& value, const std::string& name) {
    value.need_defined();
    if (auto found = member(value, name)) return *std::move(found);
    const Value key = Value::text(name);
    if (auto found = subscript(value, key)) return *std::move(found);
    return missing(value, key);
}

Value slice(const Value& value, const Value& from, const Value& to, const Value& step_value) {
    value.need_defined();
    const int64_t step =
        step_value.is_undefined() || step_value.is_none() ? 1 : step_value.as_int64();
    if (step == 0) throw Fault("the step of a slice is 0");
    if (!value.has_positions()) throw Fault("cannot slice " + value.kind());
    const std::vector<Value> all = value.items();
    const auto size = static_cast<int64_t>(all.size());
    const int64_t low = step > 0 ? 0 : -1;
    const int64_t high = step > 0 ? size : size - 1;
    int64_t at = slice_end(from, step > 0 ? low : high, size, low, high);
    const int64_t end = slice_end(to, step > 0 ? high : low, size, low, high);

    std::vector<Value> items;
    const int64_t begin = at;
    while (step > 0 ? at < end : at > end) {
        items.push_back(all[static_cast<size_t>(at)]);
        if (step > 0 ? step >= end - at : step <= end - at) break;  // and no overflow of at + step
        at += step;
    }
    if (value.is_tuple()) return Value::tuple(std::move(items));
    if (value.is_list()) return Value::list(std::move(items));
    if (!value.is_text()) {
        if (value.sequence()->kind == Sequence::Kind::kBytes)
            return make_bytes(bytes_of(Value::list(std::move(items))));
        const auto& [first, stop, stride] = value.sequence()->range;  // a range of a range
        return make_range(first + begin * stride, first + end * stride, stride * step);
    }
    std::string text;
    for (const Value& character : items) text += character.as_text();
    return Value::text(std::move(text), value.is_safe());
}

}  // namespace hetune::jinja
