// The methods and global functions of builtins.h.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <unordered_map>

#include "runtime/tokenizer/jinja/builtins.h"
#include "runtime/tokenizer/jinja/text.h"

namespace hetune::jinja {
namespace {

using Method = Value (*)(const Value& self, const Arguments& arguments);

const Value& required(const Arguments& arguments, size_t position, std::string_view name) {
    const Value* value = arguments.find(position, name);
    if (value == nullptr) throw Fault(fmt::format("the argument '{}' is missing", name));
    return *value;
}

// The text at `position`, empty when it is missing or none.
std::string_view optional_text(const Arguments& arguments, size_t position, std::string_view name) {
    const Value* value = arguments.find(position, name);
    return value == nullptr || value->is_none() ? std::string_view() : value->as_text();
}

Value text_of(std::string_view text) { return Value::text(std::string(text)); }

template <bool kLeft, bool kRight>
Value strip_method(const Value& self, const Arguments& arguments) {
    arguments.at_most(1);
    return text_of(strip(self.as_text(), optional_text(arguments, 0, "chars"), kLeft, kRight));
}

template <std::string (*kChange)(std::string_view)>
Value changed(const Value& self, const Arguments& arguments) {
    arguments.at_most(0);
    return Value::text(kChange(self.as_text()));
}

Value split_method(const Value& self, const Arguments& arguments) {
    const Value* most = arguments.find(1, "maxsplit");
    const Value* separator = arguments.find(0, "sep");
    if (separator != nullptr && separator->is_text() && separator->as_text().empty())
        throw Fault("the separator is empty");
    return Value::of(Json(split(self.as_text(), optional_text(arguments, 0, "sep"),
                                most == nullptr ? -1 : most->as_integer())));
}

// One affix, or a list of which any will do.
template <bool kAtStart>
Value has_affix(const Value& self, const Arguments& arguments) {
    arguments.at_most(1);
    const Value& affix = required(arguments, 0, kAtStart ? "prefix" : "suffix");
    const std::string& text = self.as_text();
    const auto has = [&](const std::string& one) {
        return kAtStart ? text.starts_with(one) : text.ends_with(one);
    };
    if (!affix.is_list()) return Value::of(Json(has(affix.as_text())));
    return Value::of(Json(
        std::ranges::any_of(affix.items(), [&](const Value& one) { return has(one.as_text()); })));
}

template <bool kAtStart>
Value remove_affix(const Value& self, const Arguments& arguments) {
    const std::string& affix = required(arguments, 0, kAtStart ? "prefix" : "suffix").as_text();
    std::string_view text = self.as_text();
    if (kAtStart && text.starts_with(affix)) text.remove_prefix(affix.size());
    if (!kAtStart && text.ends_with(affix)) text.remove_suffix(affix.size());
    return text_of(text);
}

Value replace_method(const Value& self, const Arguments& arguments) {
    const Value* most = arguments.find(2, "count");
    return Value::text(replace(self.as_text(), required(arguments, 0, "old").as_text(),
                               required(arguments, 1, "new").as_text(),
                               most == nullptr ? -1 : most->as_integer()));
}

Value join_method(const Value& self, const Arguments& arguments) {
    std::string text;
    bool first = true;
    for (const Value& element : required(arguments, 0, "iterable").items()) {
        if (!first) text += self.as_text();
        first = false;
        text += element.as_text();
    }
    return Value::text(std::move(text));
}

// Counted in characters; -1 when it is not there.
Value find_text(const Value& self, const Arguments& arguments) {
    const std::string& text = self.as_text();
    const size_t at = text.find(required(arguments, 0, "sub").as_text());
    if (at == std::string::npos) return Value::of(Json(-1));
    return Value::of(Json(characters(std::string_view(text).substr(0, at)).size()));
}

Value get(const Value& self, const Arguments& arguments) {
    arguments.at_most(2);
    Value found = item(self, required(arguments, 0, "key"));
    if (!found.is_undefined()) return found;
    const Value* fallback = arguments.find(1, "default");
    return fallback == nullptr ? Value::of(Json(nullptr)) : *fallback;
}

Value items(const Value& self, const Arguments&) { return find_filter("items")(self, {}); }

Value keys(const Value& self, const Arguments&) { return find_filter("list")(self, {}); }

Value values(const Value& self, const Arguments&) {
    Json list = Json::array();
    for (const Json& value : self.json()) list.push_back(value);
    return Value::of(std::move(list));
}

Value range(const Arguments& arguments) {
    arguments.at_most(3);
    const size_t count = arguments.positional.size();
    if (count == 0) throw Fault("needs a number");
    const auto number = [&](size_t i) { return arguments.positional[i].as_integer(); };
    const int64_t begin = count == 1 ? 0 : number(0);
    const int64_t end = number(count == 1 ? 0 : 1);
    const int64_t step = count == 3 ? number(2) : 1;
    if (step == 0) throw Fault("the step is 0");
    constexpr size_t kMost = 100'000;  // the limit of Jinja's sandbox
    Json list = Json::array();
    for (int64_t at = begin; step > 0 ? at < end : at > end;) {
        if (list.size() == kMost) throw Fault(fmt::format("has more than {} numbers", kMost));
        list.push_back(at);
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return Value::of(std::move(list));
}

Value make_namespace(const Arguments& arguments) {
    auto space = std::make_shared<Namespace>();
    for (const Value& members : arguments.positional)
        for (const Value& name : members.items())
            space->insert_or_assign(name.as_text(), item(members, name));
    for (const auto& [name, value] : arguments.named) {
        if (value.as_namespace() != nullptr) throw Fault("a namespace cannot hold a namespace");
        space->insert_or_assign(name, value);
    }
    return Value::of(std::move(space));
}

Value make_dict(const Arguments& arguments) {
    Json dict = Json::object();
    if (!arguments.positional.empty() && arguments.positional[0].is_dict())
        dict = arguments.positional[0].json();
    int64_t left = kMaxElements;
    for (const auto& [name, value] : arguments.named) dict[name] = to_json(value, left);
    return Value::of(std::move(dict));
}

Value raise_exception(const Arguments& arguments) {
    throw Fault(arguments.positional.empty() ? "raised" : arguments.positional[0].print());
}

Value strftime_now(const Arguments& arguments) {
    const std::string& format = required(arguments, 0, "format").as_text();
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::array<char, 256> text{};
    const size_t bytes = std::strftime(text.data(), text.size(), format.c_str(), &local);
    return text_of({text.data(), bytes});
}

}  // namespace

Value find_method(const Value& value, std::string_view name) {
    static const std::unordered_map<std::string_view, Method> kText = {
        {"capitalize", changed<capitalize>},
        {"endswith", has_affix<false>},
        {"find", find_text},
        {"join", join_method},
        {"lower", changed<lower>},
        {"lstrip", strip_method<true, false>},
        {"removeprefix", remove_affix<true>},
        {"removesuffix", remove_affix<false>},
        {"replace", replace_method},
        {"rstrip", strip_method<false, true>},
        {"split", split_method},
        {"startswith", has_affix<true>},
        {"strip", strip_method<true, true>},
        {"title", changed<title>},
        {"upper", changed<upper>},
    };
    static const std::unordered_map<std::string_view, Method> kDict = {
        {"get", get}, {"items", items}, {"keys", keys}, {"values", values}};
    static const std::unordered_map<std::string_view, Method> kNone;
    const auto& methods = value.is_text() ? kText : value.is_dict() ? kDict : kNone;
    const auto found = methods.find(name);
    if (found == methods.end()) return Value();
    return Value::of(Function([self = value, method = found->second](const Arguments& arguments) {
        return method(self, arguments);
    }));
}

Value find_global(std::string_view name) {
    static const std::unordered_map<std::string_view, Value> kGlobals = {
        {"dict", Value::of(Function(make_dict))},
        {"namespace", Value::of(Function(make_namespace))},
        {"raise_exception", Value::of(Function(raise_exception))},
        {"range", Value::of(Function(range))},
        {"strftime_now", Value::of(Function(strftime_now))},
    };
    const auto found = kGlobals.find(name);
    return found == kGlobals.end() ? Value() : found->second;
}

}  // namespace hetune::jinja
