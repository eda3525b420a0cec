// The values of a template: those of Python that templates meet, and what only templates have
// (undefined, namespaces, macros).
#pragma once

#include <fmt/format.h>

#include <array>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/text/jinja/integer.h"

namespace hetune::jinja {

using Json = nlohmann::ordered_json;  // keys keep their order, as in Python

// What went wrong, without the place: the node that was evaluated adds line and construct.
struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Bounds of values. Whatever walks a value by recursion relies on kMaxDepth, and whatever walks it
// at all on kMaxElements, which counts an element as often as it is reached.
inline constexpr int kMaxDepth = 100;
inline constexpr int64_t kMaxElements = 1 << 20;
inline constexpr size_t kMaxTextBytes = 64 << 20;

class Value;
struct Arguments;
struct Text;
struct Sequence;
struct Dict;
struct Iterator;
class Object;

// Cheap to copy: what is large is shared, as in Python. Not for two threads at once.
class Value {
  public:
    Value() : data_(Undefined{}) {}
    static Value undefined(std::string message);  // "'x' is undefined"
    static Value none() { return Value(Data(None{})); }
    static Value of(bool value) { return Value(Data(value)); }
    static Value of(Integer value) { return Value(Data(std::move(value))); }
    static Value of(double value) { return Value(Data(value)); }
    template <std::integral T>
    static Value of(T value) {
        return of(Integer(static_cast<int64_t>(value)));
    }
    static Value of(std::shared_ptr<Object> object) { return Value(Data(std::move(object))); }
    static Value of(std::shared_ptr<Dict> dict) { return Value(Data(std::move(dict))); }
    static Value of(std::shared_ptr<Sequence> s) { return Value(Data(std::move(s))); }
    // These throw Fault above kMaxTextBytes, kMaxElements and kMaxDepth, and when the rendering has
    // made more than it may. A safe text is not escaped again (Markup).
    static Value text(std::string text, bool safe = false);
    static Value list(std::vector<Value> items);
    static Value tuple(std::vector<Value> items);
    // A generator, as those of map and select: walked once, and computed while it is.
    static Value iterator(std::function<std::optional<Value>()> next);
    static Value function(std::string name, std::function<Value(const Arguments&)> body);
    // Throws Fault for what nests deeper than kMaxDepth.
    static Value of_json(const Json& json);

    bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
    bool is_none() const { return std::holds_alternative<None>(data_); }
    bool is_bool() const { return std::holds_alternative<bool>(data_); }
    bool is_integer() const { return std::holds_alternative<Integer>(data_); }
    bool is_float() const { return std::holds_alternative<double>(data_); }
    bool is_whole() const { return is_integer() || is_bool(); }  // Python's bool is an int
    bool is_number() const { return is_whole() || is_float(); }
    bool is_text() const { return std::holds_alternative<std::shared_ptr<const Text>>(data_); }
    bool is_safe() const;
    bool is_list() const;
    bool is_tuple() const;
    bool is_dict() const { return std::holds_alternative<std::shared_ptr<Dict>>(data_); }
    bool is_iterator() const { return std::holds_alternative<std::shared_ptr<Iterator>>(data_); }
    bool has_positions() const;  // text, list, tuple, range or bytes
    Sequence* sequence() const;  // nullptr for another kind
    Dict* dict() const;
    Object* object() const;

    // These throw Fault when the value is of another kind. The message names that kind.
    const std::string& as_text() const;
    Integer as_integer() const;
    int64_t as_int64() const { return as_integer().small(); }
    double as_double() const;
    bool as_bool() const { return std::get<bool>(data_); }
    Value call(const Arguments& arguments) const;
    // For what nobody may do with an undefined value.
    void need_defined() const;

    bool truthy() const;
    std::string print() const;         // Python's str(); undefined gives nothing
    std::string type() const;          // Python's name: "int", "str", "Undefined"
    std::string kind() const;          // for messages: "a list", or "'x' is undefined"
    std::vector<Value> items() const;  // what a for loop walks; uses an iterator up
    int64_t length() const;
    const void* identity() const;  // of what is shared; nullptr for others
    int depth() const;             // of lists and dicts: 1 above the deepest of their elements
    int64_t weight() const;        // elements within, counted as often as they are reached

  private:
    struct Undefined {
        std::shared_ptr<const std::string> message = {};
    };
    struct None {};
    using Data = std::variant<Undefined, None, bool, Integer, double, std::shared_ptr<const Text>,
                              std::shared_ptr<Sequence>, std::shared_ptr<Dict>,
                              std::shared_ptr<Iterator>, std::shared_ptr<Object>>;
    explicit Value(Data data) : data_(std::move(data)) {}
    Data data_;
};

// Positional and name=value arguments of a call, filter or test.
struct Arguments {
    std::vector<Value> positional = {};
    std::vector<std::pair<std::string, Value>> named = {};

    // The argument at `position` or called `name`; nullptr when it was not given.
    const Value* find(size_t position, std::string_view name) const;
    // Throws Fault when it is missing.
    const Value& need(size_t position, std::string_view name) const;
    // Throws Fault for more positional arguments than `names`, and for a name that is not in it.
    void check(std::initializer_list<std::string_view> names) const;
    bool flag(size_t position, std::string_view name, bool absent = false) const;
    std::optional<int64_t> integer(size_t position, std::string_view name) const;  // none: None too
};

struct Text {
    std::string bytes;
    bool safe;
};

struct Sequence {
    enum class Kind { kList, kTuple, kRange, kKeys, kValues, kItems, kBytes };
    Kind kind;
    std::vector<Value> items;
    int depth = 1;
    int64_t weight = 1;
    std::vector<std::string_view> names = {};  // of a tuple's elements, where they have any
    std::array<int64_t, 3> range = {};         // start, stop and step
};

struct Dict {
    std::vector<std::pair<Value, Value>> entries;  // in the order of their first assignment
    int depth = 1;
    int64_t weight = 1;

    // Throws Fault for a key that has no hash, as a list, and above the bounds of values.
    void set(const Value& key, Value value);
    const Value* find(const Value& key) const;

  private:
    std::unordered_multimap<size_t, size_t> index_;  // hash to position
};

struct Iterator {
    std::function<std::optional<Value>()> next;
};

// Namespaces, loops, macros and functions: what has attributes or can be called.
class Object {
  public:
    virtual ~Object() = default;
    virtual std::string type() const = 0;
    virtual std::string print(int depth) const;  // `depth`: of the printing, below kMaxDepth
    virtual std::optional<Value> attribute(std::string_view) { return {}; }
    virtual bool is_callable() const { return false; }
    virtual Value call(const Arguments& arguments);
    virtual void clear() {}  // lets go of its values
};

// The one kind of value that a template changes: {% set ns.x = 1 %}.
class Namespace : public Object {
  public:
    std::string type() const override { return "jinja2.utils.Namespace"; }
    std::string print(int depth) const override;
    std::optional<Value> attribute(std::string_view name) override;
    void clear() override { values = {}; }
    Dict values;
};

}  // namespace hetune::jinja
