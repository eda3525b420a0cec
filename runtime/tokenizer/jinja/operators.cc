#include "runtime/tokenizer/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace hetune::jinja {
namespace {

Value repeat(const Value& value, int64_t times) {
    const int64_t count = std::max<int64_t>(times, 0);
    const size_t bytes = value.is_text() ? value.as_text().size() : value.json().size();
    if (bytes != 0 && static_cast<uint64_t>(count) > Value::kMaxTextBytes / bytes)
        throw Fault("makes a text of more than 64 MiB");
    if (bytes == 0 || count == 1) return value;
    if (value.is_text()) {
        std::string text;
        for (int64_t i = 0; i < count; ++i) text += value.as_text();
        return Value::text(std::move(text));
    }
    Json list = Json::array();
    int64_t left = kMaxElements;
    for (int64_t i = 0; i < count; ++i) {
        check_size(value.json(), left);
        list.insert(list.end(), value.json().begin(), value.json().end());
    }
    return Value::of(std::move(list));
}

Value arithmetic(char op, int64_t a, int64_t b) {
    int64_t result = 0;
    const bool overflow = op == '+'   ? __builtin_add_overflow(a, b, &result)
                          : op == '-' ? __builtin_sub_overflow(a, b, &result)
                                      : __builtin_mul_overflow(a, b, &result);
    if (overflow) throw Fault("the result is too large an integer");
    return Value::of(Json(result));
}

// Python's: the quotient is rounded down and the remainder has the divisor's sign.
Value floor_divide(const Value& a, const Value& b, bool want_remainder) {
    if (b.as_double() == 0.0) throw Fault("division by zero");
    if (a.is_integer() && b.is_integer()) {
        const int64_t x = a.as_integer();
        const int64_t y = b.as_integer();
        if (y == -1) return want_remainder ? Value::of(Json(0)) : arithmetic('-', 0, x);
        const bool down = x % y != 0 && (x % y < 0) != (y < 0);
        return Value::of(Json(want_remainder ? x % y + (down ? y : 0) : x / y - (down ? 1 : 0)));
    }
    const double quotient = std::floor(a.as_double() / b.as_double());
    return Value::of(Json(want_remainder ? a.as_double() - quotient * b.as_double() : quotient));
}

}  // namespace

Value operate(const std::string& op, const Value& a, const Value& b) {
    if (op == "~") return Value::text(a.print() + b.print());
    const bool sequences = (a.is_text() && b.is_text()) || (a.is_list() && b.is_list());
    if (op == "+" && sequences) {
        if (a.is_text()) return Value::text(a.as_text() + b.as_text());
        int64_t left = kMaxElements;
        check_size(b.json(), left);
        Json list = to_json(a, left);
        list.insert(list.end(), b.json().begin(), b.json().end());
        return Value::of(std::move(list));
    }
    if (op == "*" && (a.is_text() || a.is_list()) && b.is_integer())
        return repeat(a, b.as_integer());
    if (op == "*" && (b.is_text() || b.is_list()) && a.is_integer())
        return repeat(b, a.as_integer());
    if (!a.is_number() || !b.is_number())
        throw Fault(fmt::format("cannot take {} and {}", a.kind(), b.kind()));
    if (op == "//" || op == "%") return floor_divide(a, b, op == "%");
    if (op == "/") {
        if (b.as_double() == 0.0) throw Fault("division by zero");
        return Value::of(Json(a.as_double() / b.as_double()));
    }
    const auto whole = [](const Value& v) { return v.is_integer() || v.is_bool(); };
    if (whole(a) && whole(b)) return arithmetic(op[0], a.as_integer(), b.as_integer());
    const double x = a.as_double();
    const double y = b.as_double();
    return Value::of(Json(op == "+" ? x + y : op == "-" ? x - y : x * y));
}

}  // namespace hetune::jinja
