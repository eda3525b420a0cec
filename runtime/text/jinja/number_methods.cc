// The methods and attributes of Python's int, bool and float.
#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/text/jinja/builtins.h"

namespace hetune::jinja {
namespace {

using NumberMethod = Value (*)(const Value& self);

int64_t ones(const Integer& value) {
    int64_t count = 0;
    for (const char digit : value.text(16)) {
        if (digit == '-') continue;
        const int number = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
        count += std::popcount(static_cast<unsigned>(number));
    }
    return count;
}

// The fraction in lowest terms. A double is an integer of 53 bits times a power of two.
Value ratio(const Value& self) {
    if (self.is_whole()) return Value::tuple({Value::of(self.as_integer()), Value::of(1)});
    const double value = self.as_double();
    if (!std::isfinite(value)) throw Fault("infinity and nan are no ratio of integers");
    int exponent = 0;
    double mantissa = std::frexp(value, &exponent);
    while (mantissa != std::floor(mantissa)) mantissa *= 2, --exponent;
    const Integer top = Integer::of_double(mantissa);
    if (value == 0) return Value::tuple({Value::of(0), Value::of(1)});
    if (exponent < 0)
        return Value::tuple({Value::of(top), Value::of(Integer::power(2, -exponent))});
    return Value::tuple({Value::of(top * Integer::power(2, exponent)), Value::of(1)});
}

// "0x1.8000000000000p+1"
Value hexadecimal(const Value& self) {
    const double value = self.as_double();
    if (std::isnan(value)) return Value::text("nan");
    if (std::isinf(value)) return Value::text(value < 0 ? "-inf" : "inf");
    const auto bits = std::bit_cast<uint64_t>(value);
    const uint64_t mantissa = bits & ((uint64_t{1} << 52) - 1);
    const int exponent = static_cast<int>(bits >> 52 & 0x7FF);
    const std::string sign = bits >> 63 != 0 ? "-" : "";
    if (value == 0) return Value::text(sign + "0x0.0p+0");
    return Value::text(fmt::format("{}0x{}.{:013x}p{:+}", sign, exponent == 0 ? 0 : 1, mantissa,
                                   std::max(exponent, 1) - 1023));
}

Value bit_length(const Value& self) { return Value::of(self.as_integer().bits()); }
Value bit_count(const Value& self) { return Value::of(ones(self.as_integer())); }
Value itself(const Value& self) { return self.is_whole() ? Value::of(self.as_integer()) : self; }
Value is_whole_number(const Value& self) {
    const double value = self.as_double();
    return Value::of(std::isfinite(value) && value == std::trunc(value));
}

}  // namespace

Value find_number_method(const Value& number, std::string_view name) {
    const bool whole = number.is_whole();
    if (name == "real" || (whole && name == "numerator")) return itself(number);
    if (name == "imag") return whole ? Value::of(0) : Value::of(0.0);
    if (whole && name == "denominator") return Value::of(1);
    NumberMethod method = nullptr;
    if (name == "as_integer_ratio") method = ratio;
    if (name == "conjugate") method = itself;
    if (whole && name == "bit_count") method = bit_count;
    if (whole && name == "bit_length") method = bit_length;
    if (!whole && name == "hex") method = hexadecimal;
    if (!whole && name == "is_integer") method = is_whole_number;
    if (method == nullptr) return Value();
    return Value::function(std::string(name), [number, method](const Arguments& arguments) {
        arguments.check({});
        return method(number);
    });
}

}  // namespace hetune::jinja
