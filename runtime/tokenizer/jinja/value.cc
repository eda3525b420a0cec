#include "runtime/tokenizer/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/tokenizer/jinja/text.h"

namespace hetune::jinja {

const Value* Arguments::find(size_t position, std::string_view name) const {
    if (position < positional.size()) return &positional[position];
    for (const auto& [key, value] : named)
        if (key == name) return &value;
    return nullptr;
}

void Arguments::at_most(size_t most) const {
    if (positional.size() > most)
        throw Fault(fmt::format("takes at most {} arguments, not {}", most, positional.size()));
}

Value Value::undefined(std::string name) {
    Value value;
    value.data_ = Undefined{std::move(name)};
    return value;
}
Value Value::of(Json json) {
    Value value;
    value.data_ = std::make_shared<const Json>(std::move(json));
    return value;
}
Value Value::text(std::string text) {
    if (text.size() > kMaxTextBytes)
        throw Fault(fmt::format("makes a text of more than {} MiB", kMaxTextBytes >> 20));
    return of(Json(std::move(text)));
}
Value Value::part(const Value& whole, const Json& part) {
    Value value;
    value.data_ =
        std::shared_ptr<const Json>(std::get<std::shared_ptr<const Json>>(whole.data_), &part);
    return value;
}
Value Value::of(std::shared_ptr<Namespace> space) {
    Value value;
    value.data_ = std::move(space);
    return value;
}
Value Value::of(Function function) {
    Value value;
    value.data_ = std::make_shared<const Function>(std::move(function));
    return value;
}

const Json& Value::json() const {
    if (const auto* json = std::get_if<std::shared_ptr<const Json>>(&data_)) return **json;
    throw Fault("cannot use " + kind());
}

const std::string& Value::as_text() const {
    if (!is_text()) throw Fault("needs a string, not " + kind());
    return json().get_ref<const std::string&>();
}

int64_t Value::as_integer() const {
    if (is_bool()) return json().get<bool>() ? 1 : 0;
    if (!is_integer()) throw Fault("needs an integer, not " + kind());
    return json().get<int64_t>();
}

double Value::as_double() const {
    if (!is_number()) throw Fault("needs a number, not " + kind());
    return is_bool() ? static_cast<double>(as_integer()) : json().get<double>();
}

Namespace* Value::as_namespace() const {
    const auto* space = std::get_if<std::shared_ptr<Namespace>>(&data_);
    return space == nullptr ? nullptr : space->get();
}

Value Value::call(const Arguments& arguments) const {
    if (!is_function()) throw Fault("cannot call " + kind());
    return (*std::get<FunctionPtr>(data_))(arguments);
}

bool Value::truthy() const {
    if (is_undefined()) return false;
    if (!is_json()) return true;
    const Json& value = json();
    if (value.is_boolean()) return value.get<bool>();
    if (value.is_number()) return value.get<double>() != 0.0;
    if (value.is_string()) return !value.get_ref<const std::string&>().empty();
    return !value.empty();
}

std::string Value::print() const {
    if (is_undefined()) return "";
    if (!is_json()) throw Fault("cannot print " + kind());
    return is_text() ? as_text() : python_repr(json());
}

std::string Value::kind() const {
    if (const auto* missing = std::get_if<Undefined>(&data_))
        return missing->name.empty() ? "an undefined value"
                                     : fmt::format("'{}', which is undefined", missing->name);
    if (is_function()) return "a function";
    if (!is_json()) return "a namespace";
    switch (json().type()) {
        case Json::value_t::null:
            return "none";
        case Json::value_t::boolean:
            return "a bool";
        case Json::value_t::string:
            return "a string";
        case Json::value_t::array:
            return "a list";
        case Json::value_t::object:
            return "a dict";
        default:
            return "a number";
    }
}

std::vector<Value> Value::items() const {
    std::vector<Value> items;
    if (is_undefined()) return items;
    const Json& value = json();
    if (value.is_array()) {
        items.reserve(value.size());
        for (const Json& element : value) items.push_back(part(*this, element));
    } else if (value.is_object()) {
        for (const auto& entry : value.items()) items.push_back(text(entry.key()));
    } else if (value.is_string()) {
        for (std::string_view character : characters(as_text()))
            items.push_back(text(std::string(character)));
    } else {
        throw Fault("cannot loop over " + kind());
    }
    return items;
}

int64_t Value::length() const {
    if (is_undefined()) return 0;
    if (is_text()) return static_cast<int64_t>(characters(as_text()).size());
    if (!is_list() && !is_dict()) throw Fault(kind() + " has no length");
    return static_cast<int64_t>(json().size());
}

bool equal(const Value& a, const Value& b) {
    if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
    if (!a.is_json() || !b.is_json())
        return a.as_namespace() != nullptr && a.as_namespace() == b.as_namespace();
    if (a.is_number() && b.is_number()) return compare(a, b) == 0;
    if (a.is_list() && b.is_list()) {
        return std::ranges::equal(a.json(), b.json(), [&](const Json& x, const Json& y) {
            return equal(Value::part(a, x), Value::part(b, y));
        });
    }
    if (a.is_dict() && b.is_dict()) {
        if (a.json().size() != b.json().size()) return false;
        for (const auto& entry : a.json().items()) {
            const auto other = b.json().find(entry.key());
            if (other == b.json().end() ||
                !equal(Value::part(a, entry.value()), Value::part(b, *other)))
                return false;
        }
        return true;
    }
    return a.json() == b.json();
}

int compare(const Value& a, const Value& b) {
    const auto sign = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
    if (a.is_text() && b.is_text()) return sign(a.as_text(), b.as_text());
    if (!a.is_number() || !b.is_number())
        throw Fault(fmt::format("cannot compare {} with {}", a.kind(), b.kind()));
    const auto whole = [](const Value& v) { return v.is_integer() || v.is_bool(); };
    if (whole(a) && whole(b)) return sign(a.as_integer(), b.as_integer());
    return sign(a.as_double(), b.as_double());
}

bool contains(const Value& haystack, const Value& needle) {
    if (haystack.is_undefined()) return false;
    if (haystack.is_text()) return haystack.as_text().find(needle.as_text()) != std::string::npos;
    if (haystack.is_dict()) return needle.is_text() && haystack.json().contains(needle.as_text());
    if (!haystack.is_list()) throw Fault("cannot look for something in " + haystack.kind());
    return std::ranges::any_of(haystack.json(), [&](const Json& element) {
        return equal(Value::part(haystack, element), needle);
    });
}

Json to_json(const Value& value, int64_t& elements_left) {
    if (value.is_undefined()) return nullptr;
    if (!value.is_json()) throw Fault("cannot put " + value.kind() + " into a list or dict");
    check_size(value.json(), elements_left);
    return value.json();
}

namespace {

void count_elements(const Json& json, int64_t& elements_left, int depth) {
    if (depth > 100) throw Fault("lists and dicts nest deeper than 100");
    if (--elements_left < 0) throw Fault(fmt::format("has more than {} elements", kMaxElements));
    if (!json.is_structured()) return;
    for (const Json& element : json) count_elements(element, elements_left, depth + 1);
}

// Python's rule for one end of a slice: negative counts from the end, then clamp to [low, high].
int64_t slice_end(const Value& end, int64_t fallback, int64_t size, int64_t low, int64_t high) {
    if (end.is_undefined() || end.is_none()) return fallback;
    const int64_t at = end.as_integer();
    return std::clamp(at < 0 ? at + size : at, low, high);
}

}  // namespace

void check_size(const Json& json, int64_t& elements_left) {
    count_elements(json, elements_left, 0);
}

Value item(const Value& value, const Value& key) {
    if (value.is_dict()) {
        if (!key.is_text()) return Value::undefined(key.print());
        const auto found = value.json().find(key.as_text());
        return found == value.json().end() ? Value::undefined(key.as_text())
                                           : Value::part(value, *found);
    }
    if (Namespace* space = value.as_namespace(); space != nullptr && key.is_text()) {
        const auto found = space->find(key.as_text());
        return found == space->end() ? Value::undefined(key.as_text()) : found->second;
    }
    if (value.is_list() && (key.is_integer() || key.is_bool())) {
        const int64_t size = value.length();
        const int64_t at = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
        if (at < 0 || at >= size) return Value::undefined(fmt::format("[{}]", key.as_integer()));
        return Value::part(value, value.json()[static_cast<size_t>(at)]);
    }
    if (value.is_text() && key.is_integer()) {
        const auto all = characters(value.as_text());
        const auto size = static_cast<int64_t>(all.size());
        const int64_t at = key.as_integer() < 0 ? key.as_integer() + size : key.as_integer();
        if (at < 0 || at >= size) return Value::undefined(fmt::format("[{}]", key.as_integer()));
        return Value::text(std::string(all[static_cast<size_t>(at)]));
    }
    if (value.is_undefined()) throw Fault("cannot look into " + value.kind());
    return Value::undefined(key.print());
}

Value slice(const Value& value, const Value& from, const Value& to, const Value& step_value) {
    const int64_t step =
        step_value.is_undefined() || step_value.is_none() ? 1 : step_value.as_integer();
    if (step == 0) throw Fault("the step of a slice is 0");
    if (!value.is_text() && !value.is_list()) throw Fault("cannot slice " + value.kind());
    const std::vector<Value> all = value.items();
    const auto size = static_cast<int64_t>(all.size());
    const int64_t low = step > 0 ? 0 : -1;
    const int64_t high = step > 0 ? size : size - 1;
    int64_t at = slice_end(from, step > 0 ? low : high, size, low, high);
    const int64_t end = slice_end(to, step > 0 ? high : low, size, low, high);

    Json list = Json::array();
    std::string text;
    while (step > 0 ? at < end : at > end) {
        const Value& element = all[static_cast<size_t>(at)];
        if (value.is_text())
            text += element.as_text();
        else
            list.push_back(element.json());
        if (step > 0 ? step >= end - at : step <= end - at) break;  // and no overflow of at + step
        at += step;
    }
    return value.is_text() ? Value::text(text) : Value::of(std::move(list));
}

}  // namespace hetune::jinja
