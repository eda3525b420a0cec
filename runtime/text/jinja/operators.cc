#include "runtime/text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "runtime/text/jinja/format.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

Value repeat(const Value& value, const Integer& times) {
    const bool is_text = value.is_text();
    const size_t size = is_text ? value.as_text().size() : value.sequence()->items.size();
    const int64_t count = Integer::compare(times, Integer(0)) < 0 ? 0 : times.small();
    const size_t most = is_text ? kMaxTextBytes : static_cast<size_t>(kMaxElements);
    if (size != 0 && static_cast<uint64_t>(count) > most / size)
        throw Fault(is_text ? "makes a text of more than 64 MiB"
                            : fmt::format("has more than {} elements", kMaxElements));
    const int64_t copies = size == 0 ? 0 : count;
    if (is_text) {
        std::string text;
        for (int64_t i = 0; i < copies; ++i) text += value.as_text();
        return Value::text(std::move(text), value.is_safe());
    }
    std::vector<Value> items;
    for (int64_t i = 0; i < copies; ++i)
        items.insert(items.end(), value.sequence()->items.begin(), value.sequence()->items.end());
    return value.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

Value joined(const Value& a, const Value& b) {
    if (a.is_text()) {
        // Text that is safe makes the other side safe by escaping it.
        const bool safe = a.is_safe() || b.is_safe();
        const auto part = [&](const Value& v) {
            return safe && !v.is_safe() ? escape_html(v.as_text()) : v.as_text();
        };
        return Value::text(part(a) + part(b), safe);
    }
    std::vector<Value> items = a.sequence()->items;
    const auto& more = b.sequence()->items;
    items.insert(items.end(), more.begin(), more.end());
    return a.is_tuple() ? Value::tuple(std::move(items)) : Value::list(std::move(items));
}

// Python's: the quotient is rounded down and the remainder has the divisor's sign.
Value divide_down(const Value& a, const Value& b, bool want_remainder) {
    if (a.is_whole() && b.is_whole()) {
        const Integer x = a.as_integer();
        const Integer y = b.as_integer();
        return Value::of(want_remainder ? Integer::modulo(x, y) : Integer::floor_divide(x, y));
    }
    const double x = a.as_double();
    const double y = b.as_double();
    if (y == 0.0) throw Fault("division by zero");
    double remainder = std::fmod(x, y);
    double quotient = (x - remainder) / y;
    if (remainder != 0.0 && (y < 0) != (remainder < 0)) {
        remainder += y;
        quotient -= 1.0;
    }
    if (want_remainder) return Value::of(remainder == 0.0 ? std::copysign(0.0, y) : remainder);
    if (quotient == 0.0) return Value::of(std::copysign(0.0, x / y));
    const double whole = std::floor(quotient);
    return Value::of(quotient - whole > 0.5 ? whole + 1.0 : whole);
}

Value power(const Value& a, const Value& b) {
    if (a.is_whole() && b.is_whole() && Integer::compare(b.as_integer(), Integer(0)) >= 0) {
        const Integer exponent = b.as_integer();
        return Value::of(Integer::power(a.as_integer(), exponent.small()));
    }
    const double x = a.as_double();
    const double y = b.as_double();
    if (x == 0.0 && y < 0) throw Fault("division by zero");
    if (x < 0 && y != std::floor(y)) throw Fault("the power is no real number");
    const double result = std::pow(x, y);
    if (std::isinf(result) && std::isfinite(x) && std::isfinite(y))
        throw Fault("the power is too large");
    return Value::of(result);
}

}  // namespace

Value operate(const std::string& op, const Value& a, const Value& b) {
    if (op == "~") return Value::text(a.print() + b.print());
    a.need_defined();
    if (op == "%" && a.is_text()) return format_percent(a, b);
    b.need_defined();
    const bool alike = (a.is_text() && b.is_text()) || (a.is_list() && b.is_list()) ||
                       (a.is_tuple() && b.is_tuple());
    if (op == "+" && alike) return joined(a, b);
    const auto repeats = [](const Value& v) { return v.is_text() || v.is_list() || v.is_tuple(); };
    if (op == "*" && repeats(a) && b.is_whole()) return repeat(a, b.as_integer());
    if (op == "*" && repeats(b) && a.is_whole()) return repeat(b, a.as_integer());
    if (!a.is_number() || !b.is_number())
        throw Fault(fmt::format("cannot take {} and {}", a.kind(), b.kind()));
    if (op == "//" || op == "%") return divide_down(a, b, op == "%");
    if (op == "**") return power(a, b);
    const bool whole = a.is_whole() && b.is_whole();
    if (op == "/") {
        if (whole) return Value::of(Integer::divide(a.as_integer(), b.as_integer()));
        if (b.as_double() == 0.0) throw Fault("division by zero");
        return Value::of(a.as_double() / b.as_double());
    }
    if (whole) {
        const Integer x = a.as_integer();
        const Integer y = b.as_integer();
        return Value::of(op == "+" ? x + y : op == "-" ? x - y : x * y);
    }
    const double x = a.as_double();
    const double y = b.as_double();
    return Value::of(op == "+" ? x + y : op == "-" ? x - y : x * y);
}

Value negated(const Value& value) {
    if (value.is_whole()) return Value::of(-value.as_integer());
    if (!value.is_float()) value.need_defined();
    return Value::of(-value.as_double());
}

}  // namespace hetune::jinja
