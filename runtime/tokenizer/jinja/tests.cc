// The tests of builtins.h: what may stand behind `is`.
#include <unordered_map>

#include "runtime/tokenizer/jinja/builtins.h"
#include "runtime/tokenizer/jinja/text.h"

namespace hetune::jinja {
namespace {

const Value& other(const Arguments& arguments) {
    if (arguments.positional.size() != 1) throw Fault("needs one argument");
    return arguments.positional[0];
}

bool is_bool_of(const Value& value, bool wanted) {
    return value.is_bool() && value.json().get<bool>() == wanted;
}

bool is_sequence(const Value& value) {
    return value.is_text() || value.is_list() || value.is_dict() || value.is_undefined();
}

bool divides(const Value& value, int64_t divisor, int64_t remainder) {
    if (divisor == 0) throw Fault("division by zero");
    return divisor == -1 || std::abs(value.as_integer() % divisor) == remainder;
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
        {"callable", [](V v, A) { return v.is_function(); }},
        {"defined", [](V v, A) { return !v.is_undefined(); }},
        {"divisibleby", [](V v, A a) { return divides(v, other(a).as_integer(), 0); }},
        {"eq", equal_to},
        {"equalto", equal_to},
        {"even", [](V v, A) { return divides(v, 2, 0); }},
        {"false", [](V v, A) { return is_bool_of(v, false); }},
        {"float", [](V v, A) { return v.is_json() && v.json().is_number_float(); }},
        {"ge", at_least},
        {"greaterthan", greater},
        {"gt", greater},
        {"in", [](V v, A a) { return contains(other(a), v); }},
        {"integer", [](V v, A) { return v.is_integer(); }},
        {"iterable", [](V v, A) { return is_sequence(v); }},
        {"le", at_most},
        {"lessthan", less},
        {"lower", [](V v, A) { return v.is_text() && v.as_text() == lower(v.as_text()); }},
        {"lt", less},
        {"mapping", [](V v, A) { return v.is_dict(); }},
        {"ne", not_equal},
        {"none", [](V v, A) { return v.is_none(); }},
        {"number", [](V v, A) { return v.is_number(); }},
        {"odd", [](V v, A) { return divides(v, 2, 1); }},
        {"sameas", equal_to},
        {"sequence", [](V v, A) { return is_sequence(v); }},
        {"string", [](V v, A) { return v.is_text(); }},
        {"true", [](V v, A) { return is_bool_of(v, true); }},
        {"undefined", [](V v, A) { return v.is_undefined(); }},
        {"upper", [](V v, A) { return v.is_text() && v.as_text() == upper(v.as_text()); }},
    };
    const auto found = kTests.find(name);
    return found == kTests.end() ? nullptr : found->second;
}

}  // namespace hetune::jinja
