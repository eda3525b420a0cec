// The filters of builtins.h.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "runtime/tokenizer/jinja/builtins.h"
#include "runtime/tokenizer/jinja/text.h"

namespace hetune::jinja {
namespace {

Value list_of(const std::vector<Value>& values) {
    Json list = Json::array();
    int64_t left = kMaxElements;
    for (const Value& value : values) list.push_back(to_json(value, left));
    return Value::of(std::move(list));
}

bool flag(const Arguments& arguments, size_t position, std::string_view name) {
    const Value* value = arguments.find(position, name);
    return value != nullptr && value->truthy();
}

const Value& required(const Arguments& arguments, size_t position, std::string_view name) {
    const Value* value = arguments.find(position, name);
    if (value == nullptr) throw Fault(fmt::format("the argument '{}' is missing", name));
    return *value;
}

// "a.b.0" within `value`.
Value dotted(const Value& value, const Value& path) {
    if (!path.is_text()) return item(value, path);
    Value found = value;
    for (const std::string& part : split(path.as_text(), ".", -1)) {
        int64_t index = 0;
        const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
        const bool number = error == std::errc() && end == part.data() + part.size();
        found = item(found, number ? Value::of(Json(index)) : Value::text(part));
    }
    return found;
}

Value default_filter(const Value& input, const Arguments& arguments) {
    const Value* given = arguments.find(0, "default_value");
    const bool replace = input.is_undefined() || (flag(arguments, 1, "boolean") && !input.truthy());
    if (!replace) return input;
    return given == nullptr ? Value::text("") : *given;
}

Value tojson(const Value& input, const Arguments& arguments) {
    JsonStyle style;
    if (const Value* indent = arguments.find(0, "indent");
        indent != nullptr && !indent->is_none()) {
        style.indent = static_cast<int>(std::clamp<int64_t>(indent->as_integer(), 0, 64));
        style.item_separator = ",";
    }
    style.ensure_ascii = flag(arguments, 9, "ensure_ascii");
    style.sort_keys = flag(arguments, 9, "sort_keys");
    if (const Value* pair = arguments.find(9, "separators"); pair != nullptr && !pair->is_none()) {
        style.item_separator = item(*pair, Value::of(Json(0))).as_text();
        style.key_separator = item(*pair, Value::of(Json(1))).as_text();
    }
    return Value::text(json_text(input.json(), style));
}

Value join(const Value& input, const Arguments& arguments) {
    const Value* separator = arguments.find(0, "d");
    const Value* attribute = arguments.find(1, "attribute");
    std::string text;
    bool first = true;
    for (const Value& element : input.items()) {
        if (!first && separator != nullptr) text += separator->print();
        first = false;
        text += (attribute == nullptr ? element : dotted(element, *attribute)).print();
    }
    return Value::text(std::move(text));
}

Value pairs(const Value& input, const Arguments&) {
    if (input.is_undefined()) return Value::of(Json::array());
    if (!input.is_dict()) throw Fault("needs a dict, not " + input.kind());
    Json list = Json::array();
    for (const auto& entry : input.json().items())
        list.push_back(Json::array({entry.key(), entry.value()}));
    return Value::of(std::move(list));
}

Value to_integer(const Value& input, const Arguments& arguments) {
    const Value* given = arguments.find(0, "default");
    const Value fallback = given == nullptr ? Value::of(Json(0)) : *given;
    double number = 0;
    if (input.is_integer()) return input;
    if (input.is_number()) {
        number = input.as_double();
    } else if (input.is_text()) {
        const std::string text(strip(input.as_text(), "", true, true));
        const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
        int64_t whole = 0;
        const char* last = text.data() + text.size();
        if (const auto [end, error] = std::from_chars(begin, last, whole);
            error == std::errc() && end == last)
            return Value::of(Json(whole));
        if (const auto [end, error] = std::from_chars(begin, last, number);
            error != std::errc() || end != last)
            return fallback;
    } else {
        return fallback;
    }
    if (!(std::abs(number) < 9e18)) return fallback;
    return Value::of(Json(static_cast<int64_t>(number)));
}

Value to_float(const Value& input, const Arguments& arguments) {
    const Value* given = arguments.find(0, "default");
    if (input.is_number()) return Value::of(Json(input.as_double()));
    double number = 0;
    if (input.is_text()) {
        const std::string_view text = strip(input.as_text(), "", true, true);
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error == std::errc() && end == text.data() + text.size())
            return Value::of(Json(number));
    }
    return given == nullptr ? Value::of(Json(0.0)) : *given;
}

Value end_of(const Value& input, bool last) {
    const std::vector<Value> items = input.items();
    if (items.empty()) return Value::undefined(last ? "last of nothing" : "first of nothing");
    return last ? items.back() : items.front();
}

Value reverse_filter(const Value& input, const Arguments&) {
    return slice(input, Value(), Value(), Value::of(Json(-1)));
}

Value replace_filter(const Value& input, const Arguments& arguments) {
    const Value* most = arguments.find(2, "count");
    return Value::text(replace(input.print(), required(arguments, 0, "old").print(),
                               required(arguments, 1, "new").print(),
                               most == nullptr || most->is_none() ? -1 : most->as_integer()));
}

Value trim(const Value& input, const Arguments& arguments) {
    const Value* set = arguments.find(0, "chars");
    return Value::text(std::string(
        strip(input.print(), set == nullptr || set->is_none() ? "" : set->as_text(), true, true)));
}

Value indent(const Value& input, const Arguments& arguments) {
    const Value* width = arguments.find(0, "width");
    const std::string margin =
        width == nullptr ? std::string(4, ' ')
        : width->is_text()
            ? width->as_text()
            : std::string(static_cast<size_t>(std::clamp<int64_t>(width->as_integer(), 0, 1000)),
                          ' ');
    const bool blank = flag(arguments, 2, "blank");
    std::string text = flag(arguments, 1, "first") ? margin : "";
    bool first = true;
    for (const std::string& line : split(input.print(), "\n", -1)) {
        if (!first) text += '\n';
        if (!first && (blank || !line.empty())) text += margin;
        text += line;
        first = false;
    }
    return Value::text(std::move(text));
}

// What map, select and their kin do to one element. For the *attr forms the first argument names
// the attribute; then follow the name of a test or filter and its arguments.
Arguments behind(const Arguments& arguments, size_t skip) {
    Arguments rest;
    for (size_t i = skip; i < arguments.positional.size(); ++i)
        rest.positional.push_back(arguments.positional[i]);
    rest.named = arguments.named;
    return rest;
}

Value choose(const Value& input, const Arguments& arguments, bool by_attribute, bool wanted) {
    const size_t at = by_attribute ? 1 : 0;
    Test test = nullptr;
    if (arguments.positional.size() > at) {
        const std::string& name = arguments.positional[at].as_text();
        test = find_test(name);
        if (test == nullptr) throw Fault(fmt::format("hetune has no test '{}'", name));
    }
    const Arguments rest = behind(arguments, at + 1);
    std::vector<Value> chosen;
    for (const Value& element : input.items()) {
        const Value value =
            by_attribute ? dotted(element, required(arguments, 0, "attribute")) : element;
        if ((test == nullptr ? value.truthy() : test(value, rest)) == wanted)
            chosen.push_back(element);
    }
    return list_of(chosen);
}

Value map_filter(const Value& input, const Arguments& arguments) {
    std::vector<Value> mapped;
    if (arguments.positional.empty()) {
        const Value& attribute = required(arguments, 0, "attribute");
        const Value* fallback = arguments.find(1, "default");
        for (const Value& element : input.items()) {
            Value value = dotted(element, attribute);
            mapped.push_back(value.is_undefined() && fallback != nullptr ? *fallback : value);
        }
        return list_of(mapped);
    }
    const std::string& name = arguments.positional[0].as_text();
    const Filter filter = find_filter(name);
    if (filter == nullptr) throw Fault(fmt::format("hetune has no filter '{}'", name));
    const Arguments rest = behind(arguments, 1);
    for (const Value& element : input.items()) mapped.push_back(filter(element, rest));
    return list_of(mapped);
}

Value sort_filter(const Value& input, const Arguments& arguments) {
    const Value* attribute = arguments.find(2, "attribute");
    const bool cased = flag(arguments, 1, "case_sensitive");
    const auto key = [&](const Value& element) {
        const Value value = attribute == nullptr ? element : dotted(element, *attribute);
        return value.is_text() && !cased ? Value::text(lower(value.as_text())) : value;
    };
    std::vector<Value> items = input.items();
    const bool down = flag(arguments, 0, "reverse");
    std::ranges::stable_sort(items, [&](const Value& a, const Value& b) {
        return down ? compare(key(b), key(a)) < 0 : compare(key(a), key(b)) < 0;
    });
    return list_of(items);
}

Value dictsort(const Value& input, const Arguments& arguments) {
    Arguments by_key;
    by_key.named = {{"attribute", Value::of(Json(0))}};
    return sort_filter(pairs(input, arguments), by_key);
}

Value unique(const Value& input, const Arguments&) {
    std::vector<Value> seen;
    for (const Value& element : input.items())
        if (std::ranges::none_of(seen, [&](const Value& other) { return equal(other, element); }))
            seen.push_back(element);
    return list_of(seen);
}

Value absolute(const Value& input, const Arguments&) {
    if (!input.is_integer()) return Value::of(Json(std::abs(input.as_double())));
    return Value::of(Json(static_cast<int64_t>(std::llabs(input.as_integer()))));
}

template <std::string (*kChange)(std::string_view)>
Value changed(const Value& input, const Arguments&) {
    return Value::text(kChange(input.print()));
}

}  // namespace

Filter find_filter(std::string_view name) {
    static const Filter length = [](const Value& input, const Arguments&) {
        return Value::of(Json(input.length()));
    };
    static const Filter text = [](const Value& input, const Arguments&) {
        return Value::text(input.print());
    };
    static const std::unordered_map<std::string_view, Filter> kFilters = {
        {"abs", absolute},
        {"capitalize", changed<capitalize>},
        {"count", length},
        {"d", default_filter},
        {"default", default_filter},
        {"dictsort", dictsort},
        {"first", [](const Value& input, const Arguments&) { return end_of(input, false); }},
        {"float", to_float},
        {"indent", indent},
        {"int", to_integer},
        {"items", pairs},
        {"join", join},
        {"last", [](const Value& input, const Arguments&) { return end_of(input, true); }},
        {"length", length},
        {"list", [](const Value& input, const Arguments&) { return list_of(input.items()); }},
        {"lower", changed<lower>},
        {"map", map_filter},
        {"reject", [](const Value& v, const Arguments& a) { return choose(v, a, false, false); }},
        {"rejectattr",
         [](const Value& v, const Arguments& a) { return choose(v, a, true, false); }},
        {"replace", replace_filter},
        {"reverse", reverse_filter},
        {"safe", text},
        {"select", [](const Value& v, const Arguments& a) { return choose(v, a, false, true); }},
        {"selectattr", [](const Value& v, const Arguments& a) { return choose(v, a, true, true); }},
        {"sort", sort_filter},
        {"string", text},
        {"title", changed<title>},
        {"tojson", tojson},
        {"trim", trim},
        {"unique", unique},
        {"upper", changed<upper>},
    };
    const auto found = kFilters.find(name);
    return found == kFilters.end() ? nullptr : found->second;
}

}  // namespace hetune::jinja
