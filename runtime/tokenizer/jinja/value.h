// The values of a template: JSON, plus what only templates have (undefined, namespaces, functions).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace hetune::jinja {

using Json = nlohmann::ordered_json;  // keys keep their order, as in Python

// What went wrong, without the place: the node that was evaluated adds line and construct.
struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Value;

struct Arguments {
    std::vector<Value> positional;
    std::vector<std::pair<std::string, Value>> named;

    // The argument at `position` or called `name`; nullptr when it was not given.
    const Value* find(size_t position, std::string_view name) const;
    // Throws Fault when there are more than `most` positional ones.
    void at_most(size_t most) const;
};

using Function = std::function<Value(const Arguments&)>;
using Namespace = std::map<std::string, Value>;  // the one thing that templates can change

// Cheap to copy: JSON is shared, and a part of it shares the whole. Not for two threads at once.
class Value {
  public:
    Value() = default;                         // undefined
    static Value undefined(std::string name);  // names what is missing, for messages
    static Value of(Json json);
    static Value text(std::string text);                      // throws Fault above kMaxTextBytes
    static Value part(const Value& whole, const Json& part);  // `part` lies within whole.json()
    static Value of(std::shared_ptr<Namespace> space);
    static Value of(Function function);

    bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
    bool is_json() const { return std::holds_alternative<std::shared_ptr<const Json>>(data_); }
    bool is_none() const { return is_json() && json().is_null(); }
    bool is_text() const { return is_json() && json().is_string(); }
    bool is_list() const { return is_json() && json().is_array(); }
    bool is_dict() const { return is_json() && json().is_object(); }
    bool is_bool() const { return is_json() && json().is_boolean(); }
    bool is_integer() const { return is_json() && json().is_number_integer(); }
    bool is_number() const { return is_json() && (json().is_number() || json().is_boolean()); }
    bool is_function() const { return std::holds_alternative<FunctionPtr>(data_); }

    // These throw Fault when the value is of another kind. The message names that kind.
    const Json& json() const;
    const std::string& as_text() const;
    int64_t as_integer() const;
    double as_double() const;
    Namespace* as_namespace() const;  // nullptr when it is none
    Value call(const Arguments& arguments) const;

    bool truthy() const;               // as Python has it
    std::string print() const;         // as Python's str(); undefined gives nothing
    std::string kind() const;          // "list", or for messages "'x', which is undefined"
    std::vector<Value> items() const;  // what a for loop walks: elements, keys or characters
    int64_t length() const;

    static constexpr size_t kMaxTextBytes = 64 << 20;

  private:
    struct Undefined {
        std::string name;
    };
    using FunctionPtr = std::shared_ptr<const Function>;
    std::variant<Undefined, std::shared_ptr<const Json>, std::shared_ptr<Namespace>, FunctionPtr>
        data_;
};

bool equal(const Value& a, const Value& b);  // 1 == 1.0 == true; dicts in any order
// Below, equal or above zero. Throws Fault unless both are numbers or both are text.
int compare(const Value& a, const Value& b);
bool contains(const Value& haystack, const Value& needle);
// JSON of a value that is to become part of a list or dict; undefined gives null. Counts what it
// holds off `elements_left`, which starts at kMaxElements. Throws Fault when none are left.
Json to_json(const Value& value, int64_t& elements_left);
inline constexpr int64_t kMaxElements = 1 << 18;
// The same count alone. Also throws Fault for JSON nested deeper than 100: printing recurses.
void check_size(const Json& json, int64_t& elements_left);

// value[key] with Python's rules: negative positions, Value::undefined where there is nothing.
Value item(const Value& value, const Value& key);
// value[from:to:step]; undefined or none where a part is left out.
Value slice(const Value& value, const Value& from, const Value& to, const Value& step);

}  // namespace hetune::jinja
