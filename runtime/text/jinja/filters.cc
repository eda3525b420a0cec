// The filters of builtins.h that work on lists and dicts.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <random>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

// "a.b.0" as the parts by which a value is looked into; none: no part.
std::vector<Value> path_of(const Value& path) {
    if (path.is_none() || path.is_undefined()) return {};
    if (!path.is_text()) return {path};
    std::vector<Value> parts;
    for (const std::string& part : split(path.as_text(), ".", -1)) {
        const auto index = Integer::parse(part, 10);
        const bool number = index && is_all(part, "digit");
        parts.push_back(number ? Value::of(*index) : Value::text(part));
    }
    return parts;
}

Value dotted(Value value, const std::vector<Value>& path, const Value* fallback = nullptr) {
    for (const Value& part : path) {
        value = item(value, part);
        if (fallback != nullptr && !fallback->is_none() && value.is_undefined()) value = *fallback;
    }
    return value;
}

// The attribute of a filter's argument, as a path.
std::vector<Value> path_argument(const Arguments& arguments, size_t position) {
    const Value* attribute = arguments.find(position, "attribute");
    return attribute == nullptr ? std::vector<Value>() : path_of(*attribute);
}

Value without_case(const Value& value) {
    return value.is_text() ? Value::text(lower(value.as_text())) : value;
}

Value default_filter(const Value& input, const Arguments& arguments) {
    arguments.check({"default_value", "boolean"});
    const Value* given = arguments.find(0, "default_value");
    const bool replaces = input.is_undefined() || (arguments.flag(1, "boolean") && !input.truthy());
    if (!replaces) return input;
    return given == nullptr ? Value::text("") : *given;
}

Value tojson(const Value& input, const Arguments& arguments) {
    // transformers' own, whose parameters have another order than Jinja's.
    arguments.check({"ensure_ascii", "indent", "separators", "sort_keys"});
    JsonStyle style;
    style.ensure_ascii = arguments.flag(0, "ensure_ascii");
    style.sort_keys = arguments.flag(3, "sort_keys");
    if (const Value* indent = arguments.find(1, "indent");
        indent != nullptr && !indent->is_none()) {
        style.indent =
            indent->is_text()
                ? indent->as_text()
                : std::string(static_cast<size_t>(std::clamp<int64_t>(indent->as_int64(), 0, 64)),
                              ' ');
        style.item_separator = ",";
    }
    if (const Value* pair = arguments.find(2, "separators"); pair != nullptr && !pair->is_none()) {
        style.item_separator = item(*pair, Value::of(0)).as_text();
        style.key_separator = item(*pair, Value::of(1)).as_text();
    }
    return Value::text(json_text(input, style));
}

Value join(const Value& input, const Arguments& arguments) {
    arguments.check({"d", "attribute"});
    const Value* separator = arguments.find(0, "d");
    const std::vector<Value> path = path_argument(arguments, 1);
    std::string text;
    bool first = true;
    for (const Value& element : input.items()) {
        if (!first && separator != nullptr) text += separator->print();
        first = false;
        text += dotted(element, path).print();
        if (text.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    return Value::text(std::move(text));
}

// A generator over what was computed at once.
Value generated(std::vector<Value> values) {
    return Value::iterator(
        [values = std::move(values), at = size_t{0}]() mutable -> std::optional<Value> {
            if (at == values.size()) return {};
            return values[at++];
        });
}

// A generator that computes each value from one of `input`, when it is asked for; none leaves it
// out. As in Jinja, nothing happens before the first value, and an input that is empty or none
// gives nothing.
Value lazily(const Value& input, std::function<std::optional<Value>(const Value&)> make) {
    struct State {
        std::vector<Value> items;
        size_t at = 0;
        bool started = false;
    };
    return Value::iterator([input, make = std::move(make), state = State()]() mutable {
        if (!state.started && input.truthy()) state.items = input.items();
        state.started = true;
        while (state.at < state.items.size())
            if (auto made = make(state.items[state.at++])) return made;
        return std::optional<Value>();
    });
}

Value pairs(const Value& input, const Arguments& arguments) {
    arguments.check({});
    if (input.is_undefined()) return generated({});
    if (!input.is_dict()) throw Fault("needs a dict, not " + input.kind());
    std::vector<Value> list;
    for (const auto& [key, value] : input.dict()->entries)
        list.push_back(Value::tuple({key, value}));
    return generated(std::move(list));
}

Value first_filter(const Value& input, const Arguments& arguments) {
    arguments.check({});
    const std::vector<Value> items = input.items();
    return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last_filter(const Value& input, const Arguments& arguments) {
    arguments.check({});
    if (input.is_iterator()) throw Fault("cannot walk " + input.kind() + " backwards");
    const std::vector<Value> items = input.items();
    return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value random_filter(const Value& input, const Arguments& arguments) {
    arguments.check({});
    if (input.length() == 0) return Value::undefined("No random item, sequence was empty.");
    static thread_local std::minstd_rand generator{std::random_device()()};
    const auto at = std::uniform_int_distribution<int64_t>(0, input.length() - 1)(generator);
    return item(input, Value::of(at));
}

Value reverse_filter(const Value& input, const Arguments& arguments) {
    arguments.check({});
    if (input.is_text()) return slice(input, Value(), Value(), Value::of(-1));
    std::vector<Value> items = input.items();
    std::ranges::reverse(items);
    return generated(std::move(items));
}

// The arguments behind the first `skip` ones.
Arguments behind(const Arguments& arguments, size_t skip) {
    Arguments rest;
    for (size_t i = skip; i < arguments.positional.size(); ++i)
        rest.positional.push_back(arguments.positional[i]);
    rest.named = arguments.named;
    return rest;
}

// select and its kin: for the *attr forms the first argument names the attribute; then follow the
// name of a test and its arguments.
template <bool kByAttribute, bool kWanted>
Value choose(const Value& input, const Arguments& arguments) {
    return lazily(input, [arguments](const Value& element) -> std::optional<Value> {
        const size_t at = kByAttribute ? 1 : 0;
        const Value value =
            kByAttribute ? dotted(element, path_of(arguments.need(0, "attribute"))) : element;
        bool holds = value.truthy();
        if (arguments.positional.size() > at) {
            const std::string& name = arguments.positional[at].as_text();
            const Test test = find_test(name);
            if (test == nullptr) throw Fault(fmt::format("there is no test '{}'", name));
            holds = test(value, behind(arguments, at + 1));
        }
        return holds == kWanted ? std::optional(element) : std::nullopt;
    });
}

Value map_filter(const Value& input, const Arguments& arguments) {
    if (arguments.positional.empty()) {
        const std::vector<Value> path = path_of(arguments.need(0, "attribute"));
        const Value* fallback = arguments.find(1, "default");
        return lazily(input, [path, given = fallback == nullptr ? Value::none()
                                                                : *fallback](const Value& element) {
            return std::optional(dotted(element, path, &given));
        });
    }
    return lazily(input, [arguments](const Value& element) {
        const std::string& name = arguments.positional[0].as_text();
        const Filter filter = find_filter(name);
        if (filter == nullptr) throw Fault(fmt::format("there is no filter '{}'", name));
        return std::optional(filter(element, behind(arguments, 1)));
    });
}

Value sort_filter(const Value& input, const Arguments& arguments) {
    arguments.check({"reverse", "case_sensitive", "attribute"});
    std::vector<std::vector<Value>> paths;
    const Value* attribute = arguments.find(2, "attribute");
    if (attribute == nullptr || !attribute->is_text())
        paths.push_back(attribute == nullptr ? std::vector<Value>() : path_of(*attribute));
    else
        for (const std::string& path : split(attribute->as_text(), ",", -1))
            paths.push_back(path_of(Value::text(path)));
    const bool cased = arguments.flag(1, "case_sensitive");
    std::vector<std::pair<Value, Value>> keyed;  // key, element
    for (const Value& element : input.items()) {
        std::vector<Value> key;
        for (const auto& path : paths) {
            const Value part = dotted(element, path);
            key.push_back(cased ? part : without_case(part));
        }
        keyed.emplace_back(Value::list(std::move(key)), element);
    }
    const bool down = arguments.flag(0, "reverse");
    std::ranges::stable_sort(keyed, [&](const auto& a, const auto& b) {
        return down ? compare(b.first, a.first) < 0 : compare(a.first, b.first) < 0;
    });
    std::vector<Value> items;
    for (auto& entry : keyed) items.push_back(std::move(entry.second));
    return Value::list(std::move(items));
}

Value dictsort(const Value& input, const Arguments& arguments) {
    arguments.check({"case_sensitive", "by", "reverse"});
    const Value* by = arguments.find(1, "by");
    const std::string what = by == nullptr ? "key" : by->as_text();
    if (what != "key" && what != "value") throw Fault("can only sort by key or value");
    const Value sorted_by = Value::of(what == "key" ? 0 : 1);
    Arguments given;
    given.named = {{"attribute", sorted_by},
                   {"case_sensitive", Value::of(arguments.flag(0, "case_sensitive"))},
                   {"reverse", Value::of(arguments.flag(2, "reverse"))}};
    if (!input.is_dict()) throw Fault("needs a dict, not " + input.kind());
    return sort_filter(pairs(input, {}), given);
}

Value unique(const Value& input, const Arguments& arguments) {
    arguments.check({"case_sensitive", "attribute"});
    const std::vector<Value> path = path_argument(arguments, 1);
    const bool cased = arguments.flag(0, "case_sensitive");
    return lazily(input,
                  [path, cased,
                   seen = std::make_shared<Dict>()](const Value& element) -> std::optional<Value> {
                      const Value part = dotted(element, path);
                      const Value key = cased ? part : without_case(part);
                      if (seen->find(key) != nullptr) return {};
                      seen->set(key, Value::none());
                      return element;
                  });
}

template <int kSign>
Value extreme(const Value& input, const Arguments& arguments) {
    arguments.check({"case_sensitive", "attribute"});
    const std::vector<Value> path = path_argument(arguments, 1);
    const bool cased = arguments.flag(0, "case_sensitive");
    const std::vector<Value> items = input.items();
    if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
    const auto key = [&](const Value& element) {
        const Value part = dotted(element, path);
        return cased ? part : without_case(part);
    };
    size_t best = 0;
    Value best_key = key(items[0]);
    for (size_t i = 1; i < items.size(); ++i) {
        const Value next = key(items[i]);
        if (compare(next, best_key) * kSign <= 0) continue;
        best = i;
        best_key = next;
    }
    return items[best];
}

Value sum(const Value& input, const Arguments& arguments) {
    arguments.check({"attribute", "start"});
    const Value* start = arguments.find(1, "start");
    const std::vector<Value> path = path_argument(arguments, 0);
    Value total = start == nullptr ? Value::of(0) : *start;
    if (total.is_text()) throw Fault("cannot sum strings; join them");
    for (const Value& element : input.items()) total = operate("+", total, dotted(element, path));
    return total;
}

Value batch(const Value& input, const Arguments& arguments) {
    arguments.check({"linecount", "fill_with"});
    const int64_t count = arguments.need(0, "linecount").as_int64();
    const Value* fill = arguments.find(1, "fill_with");
    std::vector<Value> lines;
    std::vector<Value> line;
    for (const Value& element : input.items()) {
        if (static_cast<int64_t>(line.size()) == count) {
            lines.push_back(Value::list(std::move(line)));
            line.clear();
        }
        line.push_back(element);
    }
    if (!line.empty()) {
        if (count > kMaxElements) throw Fault("the line is too long");
        if (fill != nullptr && !fill->is_none())
            while (static_cast<int64_t>(line.size()) < count) line.push_back(*fill);
        lines.push_back(Value::list(std::move(line)));
    }
    return generated(std::move(lines));
}

Value slice_filter(const Value& input, const Arguments& arguments) {
    arguments.check({"slices", "fill_with"});
    const int64_t slices = arguments.need(0, "slices").as_int64();
    const Value* fill = arguments.find(1, "fill_with");
    const std::vector<Value> items = input.items();
    if (slices == 0) throw Fault("division by zero");
    if (slices > kMaxElements) throw Fault("makes too many slices");
    const auto size = static_cast<int64_t>(items.size());
    std::vector<Value> parts;
    int64_t at = 0;
    for (int64_t i = 0; i < slices; ++i) {
        const int64_t count = size / slices + (i < size % slices ? 1 : 0);
        std::vector<Value> part(items.begin() + at, items.begin() + at + count);
        at += count;
        if (fill != nullptr && !fill->is_none() && i >= size % slices) part.push_back(*fill);
        parts.push_back(Value::list(std::move(part)));
    }
    return generated(std::move(parts));
}

Value groupby(const Value& input, const Arguments& arguments) {
    arguments.check({"attribute", "default", "case_sensitive"});
    const std::vector<Value> path = path_of(arguments.need(0, "attribute"));
    const Value* fallback = arguments.find(1, "default");
    const bool cased = arguments.flag(2, "case_sensitive");
    std::vector<std::pair<Value, Value>> keyed;  // key as it stands, element
    for (const Value& element : input.items())
        keyed.emplace_back(dotted(element, path, fallback), element);
    const auto key = [&](const auto& entry) {
        return cased ? entry.first : without_case(entry.first);
    };
    std::ranges::stable_sort(
        keyed, [&](const auto& a, const auto& b) { return compare(key(a), key(b)) < 0; });
    std::vector<Value> groups;
    for (size_t i = 0; i < keyed.size();) {
        const Value name = key(keyed[i]);
        const Value grouper = keyed[i].first;
        std::vector<Value> members;
        for (; i < keyed.size() && equal(key(keyed[i]), name); ++i)
            members.push_back(keyed[i].second);
        Value group = Value::tuple({grouper, Value::list(std::move(members))});
        group.sequence()->names = {"grouper", "list"};
        groups.push_back(std::move(group));
    }
    return Value::list(std::move(groups));
}

Value attribute_filter(const Value& input, const Arguments& arguments) {
    arguments.check({"name"});
    const std::string& name = arguments.need(0, "name").as_text();
    input.need_defined();
    // Attributes and methods only, no items.
    if (!input.is_dict()) return attribute(input, name);
    const Value method = find_method(input, name);
    return method.is_undefined()
               ? Value::undefined(fmt::format("'dict object' has no attribute {}", text_repr(name)))
               : method;
}

}  // namespace

Filter find_filter(std::string_view name) {
    static const Filter length = [](const Value& input, const Arguments& arguments) {
        arguments.check({});
        return Value::of(input.length());
    };
    static const Filter list = [](const Value& input, const Arguments& arguments) {
        arguments.check({});
        return Value::list(input.items());
    };
    static const std::unordered_map<std::string_view, Filter> kFilters = {
        {"attr", attribute_filter},
        {"batch", batch},
        {"count", length},
        {"d", default_filter},
        {"default", default_filter},
        {"dictsort", dictsort},
        {"first", first_filter},
        {"groupby", groupby},
        {"items", pairs},
        {"join", join},
        {"last", last_filter},
        {"length", length},
        {"list", list},
        {"map", map_filter},
        {"max", extreme<1>},
        {"min", extreme<-1>},
        {"random", random_filter},
        {"reject", choose<false, false>},
        {"rejectattr", choose<true, false>},
        {"reverse", reverse_filter},
        {"select", choose<false, true>},
        {"selectattr", choose<true, true>},
        {"slice", slice_filter},
        {"sort", sort_filter},
        {"sum", sum},
        {"tojson", tojson},
        {"unique", unique},
    };
    const auto found = kFilters.find(name);
    if (found != kFilters.end()) return found->second;
    const Filter of_number = find_number_filter(name);
    return of_number != nullptr ? of_number : find_text_filter(name);
}

}  // namespace hetune::jinja
