// The methods and global functions of builtins.h, but for those of text.
#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>

#include "runtime/text/jinja/access.h"
#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/rendering.h"

namespace hetune::jinja {
namespace {

using Kind = Sequence::Kind;
using Method = Value (*)(const Value& self, const Arguments& arguments);
using Methods = std::unordered_map<std::string_view, Method>;

Value view(Kind kind, std::vector<Value> items) {
    const Value list = Value::list(std::move(items));
    list.sequence()->kind = kind;
    return list;
}

Value get(const Value& self, const Arguments& arguments) {
    arguments.check({"key", "default"});
    const Value* found = self.dict()->find(arguments.need(0, "key"));
    if (found != nullptr) return *found;
    const Value* fallback = arguments.find(1, "default");
    return fallback == nullptr ? Value::none() : *fallback;
}

Value items(const Value& self, const Arguments& arguments) {
    arguments.check({});
    std::vector<Value> pairs;
    for (const auto& [key, value] : self.dict()->entries)
        pairs.push_back(Value::tuple({key, value}));
    return view(Kind::kItems, std::move(pairs));
}

Value keys(const Value& self, const Arguments& arguments) {
    arguments.check({});
    return view(Kind::kKeys, self.items());
}

Value values(const Value& self, const Arguments& arguments) {
    arguments.check({});
    std::vector<Value> list;
    for (const auto& entry : self.dict()->entries) list.push_back(entry.second);
    return view(Kind::kValues, std::move(list));
}

Value copy_dict(const Value& self, const Arguments& arguments) {
    arguments.check({});
    Rendering::count_elements(self.dict()->entries.size());
    return Value::of(std::make_shared<Dict>(*self.dict()));
}

Value copy_list(const Value& self, const Arguments& arguments) {
    arguments.check({});
    return Value::list(self.sequence()->items);
}

// The one method that changes a list and that Jinja 3.1.2 lets templates call, with clear().
Value pop(const Value& self, const Arguments& arguments) {
    arguments.check({"index"});
    auto& list = self.sequence()->items;
    const auto size = static_cast<int64_t>(list.size());
    int64_t at = arguments.integer(0, "index").value_or(-1);
    if (at < 0) at += size;
    if (at < 0 || at >= size) throw Fault("the list has no such element");
    Value taken = list[static_cast<size_t>(at)];
    list.erase(list.begin() + at);
    return taken;
}

Value clear(const Value& self, const Arguments& arguments) {
    arguments.check({});
    self.sequence()->items.clear();
    return Value::none();
}

Value index_of(const Value& self, const Arguments& arguments) {
    const auto& list = self.sequence()->items;
    const auto size = static_cast<int64_t>(list.size());
    const auto end_of = [&](size_t position, int64_t fallback) {
        const int64_t at = arguments.integer(position, "").value_or(fallback);
        return std::clamp<int64_t>(at < 0 ? at + size : at, 0, size);
    };
    const int64_t end = end_of(2, size);
    for (int64_t i = end_of(1, 0); i < end; ++i)
        if (equal(list[static_cast<size_t>(i)], arguments.need(0, "value"))) return Value::of(i);
    throw Fault("the value is not in the list");
}

Value count_of(const Value& self, const Arguments& arguments) {
    arguments.check({"value"});
    return Value::of(std::ranges::count_if(self.sequence()->items, [&](const Value& element) {
        return equal(element, arguments.need(0, "value"));
    }));
}

Value from_keys(const Value&, const Arguments& arguments) {
    arguments.check({"iterable", "value"});
    const Value* given = arguments.find(1, "value");
    auto dict = std::make_shared<Dict>();
    for (const Value& key : arguments.need(0, "iterable").items())
        dict->set(key, given == nullptr ? Value::none() : *given);
    return Value::of(std::move(dict));
}

Value range(const Arguments& arguments) {
    arguments.check({"start", "stop", "step"});
    const size_t count = arguments.positional.size();
    if (count == 0) throw Fault("needs a number");
    const auto number = [&](size_t i) { return arguments.positional[i].as_int64(); };
    return make_range(count == 1 ? 0 : number(0), number(count == 1 ? 0 : 1),
                      count == 3 ? number(2) : 1);
}

std::shared_ptr<Dict> dict_of(const Arguments& arguments) {
    auto dict = std::make_shared<Dict>();
    if (arguments.positional.size() > 1) throw Fault("takes one value to make a dict of");
    if (!arguments.positional.empty()) {
        const Value& from = arguments.positional[0];
        if (const Dict* other = from.dict()) {
            for (const auto& [key, value] : other->entries) dict->set(key, value);
        } else {
            for (const Value& pair : from.items()) {
                const std::vector<Value> parts = pair.items();
                if (parts.size() != 2) throw Fault("makes a dict of pairs");
                dict->set(parts[0], parts[1]);
            }
        }
    }
    for (const auto& [name, value] : arguments.named) dict->set(Value::text(name), value);
    return dict;
}

Value make_namespace(const Arguments& arguments) {
    auto space = std::make_shared<Namespace>();
    space->values = *dict_of(arguments);
    Rendering::keep(space);
    return Value::of(std::shared_ptr<Object>(std::move(space)));
}

class Joiner : public Object {
  public:
    explicit Joiner(Value separator) : separator_(std::move(separator)) {}
    std::string type() const override { return "jinja2.utils.Joiner"; }
    bool is_callable() const override { return true; }
    Value call(const Arguments& arguments) override {
        arguments.check({});
        return std::exchange(used_, true) ? separator_ : Value::text("");
    }
    std::optional<Value> attribute(std::string_view name) override {
        if (name == "sep") return separator_;
        if (name == "used") return Value::of(used_);
        return {};
    }

  private:
    Value separator_;
    bool used_ = false;
};

Value make_joiner(const Arguments& arguments) {
    arguments.check({"sep"});
    const Value* separator = arguments.find(0, "sep");
    return Value::of(std::shared_ptr<Object>(
        std::make_shared<Joiner>(separator == nullptr ? Value::text(", ") : *separator)));
}

class Cycler : public Object, public std::enable_shared_from_this<Cycler> {
  public:
    explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
    std::string type() const override { return "jinja2.utils.Cycler"; }
    std::optional<Value> attribute(std::string_view name) override {
        if (name == "current") return items_[at_];
        if (name == "pos") return Value::of(at_);
        if (name == "items") return Value::tuple(items_);
        if (name == "next")
            return Value::function("next", [self = shared_from_this()](const Arguments&) {
                const size_t at = self->at_;
                self->at_ = (at + 1) % self->items_.size();
                return self->items_[at];
            });
        if (name == "reset")
            return Value::function("reset", [self = shared_from_this()](const Arguments&) {
                self->at_ = 0;
                return Value::none();
            });
        return {};
    }
    void clear() override { items_.assign(1, Value()); }

  private:
    std::vector<Value> items_;
    size_t at_ = 0;
};

Value make_cycler(const Arguments& arguments) {
    if (arguments.positional.empty()) throw Fault("a cycler needs at least one value");
    auto cycler = std::make_shared<Cycler>(arguments.positional);
    Rendering::keep(cycler);
    return Value::of(std::shared_ptr<Object>(std::move(cycler)));
}

// A function of Jinja's that a template may name, and print or test.
Value lipsum(const Arguments&) {
    throw Fault("makes random text, which is no part of a chat; write the text itself");
}

Value raise_exception(const Arguments& arguments) {
    throw Fault(arguments.positional.empty() ? "raised" : arguments.positional[0].print());
}

Value strftime_now(const Arguments& arguments) {
    // One character in front: strftime gives nothing for "too small" and for an empty text alike.
    const std::string format = ' ' + arguments.need(0, "format").as_text();
    if (format.size() > 1 << 12) throw Fault("the format is too long");
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::string text(format.size() * 64, '\0');
    text.resize(std::strftime(text.data(), text.size(), format.c_str(), &local));
    return Value::text(text.empty() ? "" : text.substr(1));
}

const Methods& methods_of(const Value& value) {
    static const Methods kDict = {{"copy", copy_dict}, {"fromkeys", from_keys}, {"get", get},
                                  {"items", items},    {"keys", keys},          {"values", values}};
    static const Methods kList = {{"clear", clear},
                                  {"copy", copy_list},
                                  {"count", count_of},
                                  {"index", index_of},
                                  {"pop", pop}};
    static const Methods kTuple = {{"count", count_of}, {"index", index_of}};
    static const Methods kNone;
    if (value.is_dict()) return kDict;
    if (value.is_list()) return kList;
    if (value.has_positions() && value.sequence() != nullptr) return kTuple;
    return kNone;
}

}  // namespace

Value find_method(const Value& value, std::string_view name) {
    if (value.is_text()) return find_text_method(value, name);
    if (value.is_number()) return find_number_method(value, name);
    if (const Sequence* sequence = value.sequence()) {
        if (sequence->kind == Kind::kRange && name == "start") return Value::of(sequence->range[0]);
        if (sequence->kind == Kind::kRange && name == "stop") return Value::of(sequence->range[1]);
        if (sequence->kind == Kind::kRange && name == "step") return Value::of(sequence->range[2]);
        if (sequence->kind == Kind::kBytes)
            if (Value method = find_bytes_method(value, name); !method.is_undefined())
                return method;
        for (size_t i = 0; i < sequence->names.size(); ++i)
            if (sequence->names[i] == name) return sequence->items[i];
    }
    const Methods& methods = methods_of(value);
    const auto found = methods.find(name);
    if (found == methods.end()) return Value();
    return Value::function(std::string(name),
                           [self = value, method = found->second](const Arguments& arguments) {
                               return method(self, arguments);
                           });
}

bool changes(const Value& value, std::string_view name) {
    static constexpr std::array<std::string_view, 6> kList = {"append", "extend",  "insert",
                                                              "remove", "reverse", "sort"};
    static constexpr std::array<std::string_view, 5> kDict = {"clear", "pop", "popitem",
                                                              "setdefault", "update"};
    return (value.is_list() && std::ranges::find(kList, name) != kList.end()) ||
           (value.is_dict() && std::ranges::find(kDict, name) != kDict.end());
}

Value make_range(int64_t begin, int64_t end, int64_t step) {
    if (step == 0) throw Fault("the step is 0");
    constexpr size_t kMost = 100'000;  // the limit of Jinja's sandbox
    std::vector<Value> numbers;
    for (int64_t at = begin; step > 0 ? at < end : at > end;) {
        if (numbers.size() == kMost) throw Fault(fmt::format("has more than {} numbers", kMost));
        numbers.push_back(Value::of(at));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    const Value list = Value::list(std::move(numbers));
    list.sequence()->kind = Kind::kRange;
    list.sequence()->range = {begin, end, step};
    return list;
}

Value find_global(std::string_view name) {
    using Body = Value (*)(const Arguments&);
    static const std::unordered_map<std::string_view, Body> kGlobals = {
        {"cycler", make_cycler},
        {"dict", [](const Arguments& arguments) { return Value::of(dict_of(arguments)); }},
        {"joiner", make_joiner},
        {"lipsum", lipsum},
        {"namespace", make_namespace},
        {"raise_exception", raise_exception},
        {"range", range},
        {"strftime_now", strftime_now},
    };
    const auto found = kGlobals.find(name);
    return found == kGlobals.end() ? Value() : Value::function(std::string(name), found->second);
}

}  // namespace hetune::jinja
