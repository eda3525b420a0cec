#include "runtime/text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/print.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

class NamedFunction : public Object {
  public:
    NamedFunction(std::string name, std::function<Value(const Arguments&)> body)
        : name_(std::move(name)), body_(std::move(body)) {}
    std::string type() const override { return "function"; }
    std::string print(int) const override { return fmt::format("<function {}>", name_); }
    bool is_callable() const override { return true; }
    Value call(const Arguments& arguments) override { return body_(arguments); }

  private:
    std::string name_;
    std::function<Value(const Arguments&)> body_;
};

void bound(int depth, int64_t weight) {
    if (depth > kMaxDepth)
        throw Fault(fmt::format("lists and dicts nest deeper than {}", kMaxDepth));
    if (weight > kMaxElements) throw Fault(fmt::format("has more than {} elements", kMaxElements));
}

std::shared_ptr<Sequence> make_sequence(Sequence::Kind kind, std::vector<Value> items) {
    Rendering::count_elements(items.size());
    auto made = std::make_shared<Sequence>(Sequence{kind, std::move(items)});
    for (const Value& item : made->items) {
        made->depth = std::max(made->depth, item.depth() + 1);
        made->weight += item.weight();
    }
    bound(made->depth, made->weight);
    return made;
}

Value of_json(const Json& json, int depth) {
    if (depth > kMaxDepth) bound(depth, 0);
    switch (json.type()) {
        case Json::value_t::null:
        case Json::value_t::discarded:
            return Value::none();
        case Json::value_t::boolean:
            return Value::of(json.get<bool>());
        case Json::value_t::number_integer:
            return Value::of(Integer(json.get<int64_t>()));
        case Json::value_t::number_unsigned:
            return Value::of(Integer::of_unsigned(json.get<uint64_t>()));
        case Json::value_t::number_float:
            return Value::of(json.get<double>());
        case Json::value_t::string:
            return Value::text(json.get_ref<const std::string&>());
        case Json::value_t::array: {
            std::vector<Value> items;
            for (const Json& item : json) items.push_back(of_json(item, depth + 1));
            return Value::list(std::move(items));
        }
        default: {
            auto dict = std::make_shared<Dict>();
            for (const auto& entry : json.items())
                dict->set(Value::text(entry.key()), of_json(entry.value(), depth + 1));
            return Value::of(std::move(dict));
        }
    }
}

}  // namespace

const Value* Arguments::find(size_t position, std::string_view name) const {
    if (position < positional.size()) return &positional[position];
    for (const auto& [key, value] : named)
        if (key == name) return &value;
    return nullptr;
}

const Value& Arguments::need(size_t position, std::string_view name) const {
    const Value* value = find(position, name);
    if (value == nullptr) throw Fault(fmt::format("the argument '{}' is missing", name));
    return *value;
}

void Arguments::check(std::initializer_list<std::string_view> names) const {
    if (positional.size() > names.size())
        throw Fault(
            fmt::format("takes at most {} arguments, not {}", names.size(), positional.size()));
    for (const auto& [name, value] : named)
        if (std::ranges::find(names, name) == names.end())
            throw Fault(fmt::format("has no argument '{}'", name));
}

bool Arguments::flag(size_t position, std::string_view name, bool absent) const {
    const Value* value = find(position, name);
    return value == nullptr ? absent : value->truthy();
}

std::optional<int64_t> Arguments::integer(size_t position, std::string_view name) const {
    const Value* value = find(position, name);
    if (value == nullptr || value->is_none()) return {};
    return value->as_int64();
}

Value Value::undefined(std::string message) {
    return Value(Data(Undefined{std::make_shared<const std::string>(std::move(message))}));
}
Value Value::text(std::string text, bool safe) {
    Rendering::count_text(text.size());
    return Value(Data(std::make_shared<const Text>(Text{std::move(text), safe})));
}
Value Value::list(std::vector<Value> items) {
    return of(make_sequence(Sequence::Kind::kList, std::move(items)));
}
Value Value::tuple(std::vector<Value> items) {
    return of(make_sequence(Sequence::Kind::kTuple, std::move(items)));
}
Value Value::iterator(std::function<std::optional<Value>()> next) {
    return Value(Data(std::make_shared<Iterator>(Iterator{std::move(next)})));
}
Value Value::function(std::string name, std::function<Value(const Arguments&)> body) {
    return of(std::make_shared<NamedFunction>(std::move(name), std::move(body)));
}
Value Value::of_json(const Json& json) { return jinja::of_json(json, 0); }

bool Value::is_safe() const { return is_text() && std::get<5>(data_)->safe; }
bool Value::is_list() const {
    const Sequence* s = sequence();
    return s != nullptr && s->kind == Sequence::Kind::kList;
}
bool Value::is_tuple() const {
    const Sequence* s = sequence();
    return s != nullptr && s->kind == Sequence::Kind::kTuple;
}
bool Value::has_positions() const {
    const Sequence* s = sequence();
    return is_text() ||
           (s != nullptr && (is_list() || is_tuple() || s->kind == Sequence::Kind::kRange ||
                             s->kind == Sequence::Kind::kBytes));
}
Sequence* Value::sequence() const {
    const auto* found = std::get_if<std::shared_ptr<Sequence>>(&data_);
    return found == nullptr ? nullptr : found->get();
}
Dict* Value::dict() const {
    const auto* found = std::get_if<std::shared_ptr<Dict>>(&data_);
    return found == nullptr ? nullptr : found->get();
}
Object* Value::object() const {
    const auto* found = std::get_if<std::shared_ptr<Object>>(&data_);
    return found == nullptr ? nullptr : found->get();
}

void Value::need_defined() const {
    if (is_undefined()) throw Fault(kind());
}

const std::string& Value::as_text() const {
    need_defined();
    if (!is_text()) throw Fault("needs a string, not " + kind());
    return std::get<5>(data_)->bytes;
}

Integer Value::as_integer() const {
    need_defined();
    if (is_bool()) return as_bool() ? 1 : 0;
    if (!is_integer()) throw Fault("needs an integer, not " + kind());
    return std::get<Integer>(data_);
}

double Value::as_double() const {
    if (is_float()) return std::get<double>(data_);
    need_defined();
    if (!is_number()) throw Fault("needs a number, not " + kind());
    return as_integer().to_double();
}

Value Value::call(const Arguments& arguments) const {
    need_defined();
    if (object() == nullptr || !object()->is_callable()) throw Fault("cannot call " + kind());
    return object()->call(arguments);
}

bool Value::truthy() const {
    if (is_undefined() || is_none()) return false;
    if (is_bool()) return as_bool();
    if (is_integer()) return !std::get<Integer>(data_).is_zero();
    if (is_float()) return as_double() != 0.0;
    if (is_text()) return !as_text().empty();
    if (const Sequence* s = sequence()) return !s->items.empty();
    if (const Dict* d = dict()) return !d->entries.empty();
    return true;
}

std::string Value::print() const {
    if (is_undefined()) return "";
    return is_text() ? as_text() : repr(*this);
}

std::string Value::type() const {
    using Kind = Sequence::Kind;
    if (const Sequence* s = sequence()) {
        if (!s->names.empty()) return "_GroupTuple";
        switch (s->kind) {
            case Kind::kList:
                return "list";
            case Kind::kTuple:
                return "tuple";
            case Kind::kRange:
                return "range";
            case Kind::kKeys:
                return "dict_keys";
            case Kind::kValues:
                return "dict_values";
            case Kind::kItems:
                return "dict_items";
            case Kind::kBytes:
                return "bytes";
        }
    }
    if (const Object* o = object()) return o->type();
    return is_undefined() ? "Undefined"
           : is_none()    ? "NoneType"
           : is_bool()    ? "bool"
           : is_integer() ? "int"
           : is_float()   ? "float"
           : is_text()    ? is_safe() ? "Markup" : "str"
           : is_dict()    ? "dict"
                          : "generator";
}

std::string Value::kind() const {
    if (const auto* undefined = std::get_if<Undefined>(&data_))
        return undefined->message == nullptr ? "an undefined value" : *undefined->message;
    if (is_none()) return "none";
    if (is_text()) return "a string";
    if (is_number() && !is_bool()) return "a number";
    if (object() != nullptr && object()->is_callable()) return "a function";
    if (is_dict() || is_bool() || is_list() || is_tuple()) return "a " + type();
    return "a value of type " + type();
}

std::vector<Value> Value::items() const {
    std::vector<Value> items;
    if (const Sequence* s = sequence()) {
        items = s->items;
    } else if (const Dict* d = dict()) {
        for (const auto& entry : d->entries) items.push_back(entry.first);
    } else if (is_text()) {
        for (std::string_view character : characters(as_text()))
            items.push_back(text(std::string(character)));
    } else if (is_iterator()) {
        while (auto next = std::get<std::shared_ptr<Iterator>>(data_)->next())
            items.push_back(*std::move(next));
    } else if (!is_undefined()) {
        throw Fault("cannot loop over " + kind());
    }
    Rendering::count_steps(static_cast<int64_t>(items.size() / 16));
    return items;
}

int64_t Value::length() const {
    if (is_undefined()) return 0;
    if (const Sequence* s = sequence()) return static_cast<int64_t>(s->items.size());
    if (const Dict* d = dict()) return static_cast<int64_t>(d->entries.size());
    if (!is_text()) throw Fault(kind() + " has no length");
    return count_characters(as_text());
}

const void* Value::identity() const {
    return std::visit(
        [](const auto& data) -> const void* {
            if constexpr (requires { data.get(); })
                return data.get();
            else
                return nullptr;
        },
        data_);
}

int Value::depth() const {
    if (const Sequence* s = sequence()) return s->depth;
    if (const Dict* d = dict()) return d->depth;
    return 0;
}

int64_t Value::weight() const {
    if (const Sequence* s = sequence()) return s->weight;
    if (const Dict* d = dict()) return d->weight;
    return 1;
}

void Dict::set(const Value& key, Value value) {
    Rendering::count_elements(1);
    depth = std::max({depth, value.depth() + 1, key.depth() + 1});
    const size_t code = hash(key);
    const auto [first, last] = index_.equal_range(code);
    for (auto i = first; i != last; ++i) {
        auto& entry = entries[i->second];
        if (!equal(entry.first, key)) continue;
        weight += value.weight() - entry.second.weight();
        bound(depth, weight);
        entry.second = std::move(value);
        return;
    }
    weight += value.weight() + key.weight();
    bound(depth, weight);
    index_.emplace(code, entries.size());
    entries.emplace_back(key, std::move(value));
}

const Value* Dict::find(const Value& key) const {
    const auto [first, last] = index_.equal_range(hash(key));
    for (auto i = first; i != last; ++i)
        if (equal(entries[i->second].first, key)) return &entries[i->second].second;
    return nullptr;
}

std::string Object::print(int) const { return fmt::format("<{} object>", type()); }
Value Object::call(const Arguments&) { throw Fault("cannot call " + type()); }

std::string Namespace::print(int depth) const {
    std::string out;
    for (const auto& [key, value] : values.entries) {
        if (!out.empty()) out += ", ";
        out += repr(key, depth + 1) + ": " + repr(value, depth + 1);
        if (out.size() > kMaxTextBytes) throw Fault("makes a text of more than 64 MiB");
    }
    return fmt::format("<Namespace {{{}}}>", out);
}

std::optional<Value> Namespace::attribute(std::string_view name) {
    const Value* found = values.find(Value::text(std::string(name)));
    return found == nullptr ? std::nullopt : std::optional(*found);
}

}  // namespace hetune::jinja
