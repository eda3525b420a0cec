// The tests of builtins.h: what may stand behind `is`.
#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/comparison.h"
#include "runtime/text/jinja/operators.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

const Value& other(const Arguments& arguments) {
    if (arguments.positional.size() != 1) throw Fault("needs one argument");
    return arguments.positional[0];
}

bool has_order(const Value& value) {  // len() and value[0] work
    return value.has_positions() || value.is_dict() || value.is_undefined();
}

// value % divisor == remainder
bool leaves(const Value& value, const Value& divisor, int64_t remainder) {
    return equal(operate("%", value, divisor), Value::of(remainder));
}

}  // namespace

Test find_test(std::string_view name) {
    using V = const Value&;
    using A = const Arguments&;
    static const Test equal_to = [](V v, A a) { return equal(v, other(a)); };
    static const Test not_equal = [](V v, A a) { return !equal(v, other(a)); };
    static const Test less = [](V v, A a) { return compare(v, other(a)) < 0; };
    static const Test greater = [](V v, A a) { return compare(v, other(a)) > 0; };
    static const Test at_most = [](V v, A a) { return compare(v, other(a)) <= 0; };
    static const Test at_least = [](V v, A a) { return compare(v, other(a)) >= 0; };
    static const std::unordered_map<std::string_view, Test> kTests = {
        {"!=", not_equal},
        {"<", less},
        {"<=", at_most},
        {"==", equal_to},
        {">", greater},
        {">=", at_least},
        {"boolean", [](V v, A) { return v.is_bool(); }},
        {"callable",
         [](V v, A) {
             return v.is_undefined() || (v.object() != nullptr && v.object()->is_callable());
         }},
        {"defined", [](V v, A) { return !v.is_undefined(); }},
        {"divisibleby", [](V v, A a) { return leaves(v, other(a), 0); }},
        {"eq", equal_to},
        {"equalto", equal_to},
        {"escaped", [](V v, A) { return v.is_safe(); }},
        {"even", [](V v, A) { return leaves(v, Value::of(2), 0); }},
        {"false", [](V v, A) { return v.is_bool() && !v.as_bool(); }},
        {"filter", [](V v, A) { return v.is_text() && find_filter(v.as_text()) != nullptr; }},
        {"float", [](V v, A) { return v.is_float(); }},
        {"ge", at_least},
        {"greaterthan", greater},
        {"gt", greater},
        {"in", [](V v, A a) { return contains(other(a), v); }},
        {"integer", [](V v, A) { return v.is_integer(); }},
        {"iterable",
         [](V v, A) { return has_order(v) || v.sequence() != nullptr || v.is_iterator(); }},
        {"le", at_most},
        {"lessthan", less},
        {"lower", [](V v, A) { return is_all(v.print(), "lower"); }},
        {"lt", less},
        {"mapping", [](V v, A) { return v.is_dict(); }},
        {"ne", not_equal},
        {"none", [](V v, A) { return v.is_none(); }},
        {"number", [](V v, A) { return v.is_number(); }},
        {"odd", [](V v, A) { return leaves(v, Value::of(2), 1); }},
        {"sameas", [](V v, A a) { return same(v, other(a)); }},
        {"sequence", [](V v, A) { return has_order(v); }},
        {"string", [](V v, A) { return v.is_text(); }},
        {"test", [](V v, A) { return v.is_text() && find_test(v.as_text()) != nullptr; }},
        {"true", [](V v, A) { return v.is_bool() && v.as_bool(); }},
        {"undefined", [](V v, A) { return v.is_undefined(); }},
        {"upper", [](V v, A) { return is_all(v.print(), "upper"); }},
    };
    const auto found = kTests.find(name);
    return found == kTests.end() ? nullptr : found->second;
}

}  // namespace hetune::jinja
