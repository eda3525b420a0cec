#include "runtime/text/jinja/integer.h"

#include <boost/multiprecision/cpp_int.hpp>
#include <cmath>
#include <limits>

#include "runtime/text/jinja/value.h"

namespace hetune::jinja {

using boost::multiprecision::cpp_int;

struct BigInteger {
    cpp_int value;
};

namespace {

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();

int bit_count(const cpp_int& value) {
    return value.is_zero() ? 0 : static_cast<int>(msb(abs(value))) + 1;
}

int sign_of(auto difference) { return difference < 0 ? -1 : difference > 0 ? 1 : 0; }

}  // namespace

Integer Integer::of_big(BigInteger big) {
    if (bit_count(big.value) > kMaxBits)
        throw Fault(fmt::format("makes an integer of more than {} bits", kMaxBits));
    if (big.value >= kLeast && big.value <= std::numeric_limits<int64_t>::max())
        return static_cast<int64_t>(big.value);
    Integer result;
    result.value_ = std::make_shared<const BigInteger>(std::move(big));
    return result;
}

BigInteger Integer::big() const {
    return is_small() ? BigInteger{cpp_int(std::get<int64_t>(value_))} : *std::get<1>(value_);
}

Integer Integer::of_unsigned(uint64_t value) { return of_big({cpp_int(value)}); }

Integer Integer::of_double(double value) {
    if (std::abs(value) < 9e18) return static_cast<int64_t>(value);
    return of_big({cpp_int(std::trunc(value))});
}

std::optional<Integer> Integer::parse(std::string_view text, int base) {
    bool negative = false;
    if (text.starts_with('-') || text.starts_with('+')) {
        negative = text[0] == '-';
        text.remove_prefix(1);
    }
    if (text.empty() || text.back() == '_' || text[0] == '_') return {};
    if (text.size() > kMaxBits / 2) throw Fault("reads an integer of too many digits");
    cpp_int value = 0;
    bool digit_before = false;
    for (const char c : text) {
        if (c == '_' && digit_before) {
            digit_before = false;
            continue;
        }
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'z' ? c - 'a' + 10
                          : c >= 'A' && c <= 'Z' ? c - 'A' + 10
                                                 : 99;
        if (digit >= base) return {};
        value = value * base + digit;
        digit_before = true;
    }
    return of_big({negative ? cpp_int(-value) : value});
}

int64_t Integer::small() const {
    if (!is_small()) throw Fault("the integer " + text() + " is too large");
    return std::get<int64_t>(value_);
}

double Integer::to_double() const {
    if (is_small()) return static_cast<double>(std::get<int64_t>(value_));
    const auto value = static_cast<double>(big().value);
    if (!std::isfinite(value)) throw Fault("the integer is too large for a float");
    return value;
}

std::string Integer::text(int base) const {
    if (is_small() && base == 10) return fmt::format("{}", std::get<int64_t>(value_));
    cpp_int rest = abs(big().value);
    if (base == 10) {
        // Python 3.11 prints no more than 4300 digits.
        if (bit_count(rest) > 14'284) throw Fault("has more than 4300 digits");
        return big().value.str();
    }
    std::string out;
    do {
        out += "0123456789abcdef"[static_cast<int>(rest % base)];
        rest /= base;
    } while (!rest.is_zero());
    if (big().value < 0) out += '-';
    return {out.rbegin(), out.rend()};
}

size_t Integer::hash() const {
    return is_small() ? std::hash<int64_t>()(std::get<int64_t>(value_))
                      : std::hash<std::string>()(text(16));
}

int Integer::bits() const { return bit_count(big().value); }

Integer Integer::operator-() const {
    if (is_small() && small() != kLeast) return -small();
    return of_big({cpp_int(-big().value)});
}

Integer operator+(const Integer& a, const Integer& b) {
    int64_t sum = 0;
    if (a.is_small() && b.is_small() && !__builtin_add_overflow(a.small(), b.small(), &sum))
        return sum;
    return Integer::of_big({cpp_int(a.big().value + b.big().value)});
}

Integer operator-(const Integer& a, const Integer& b) { return a + -b; }

Integer operator*(const Integer& a, const Integer& b) {
    int64_t product = 0;
    if (a.is_small() && b.is_small() && !__builtin_mul_overflow(a.small(), b.small(), &product))
        return product;
    return Integer::of_big({cpp_int(a.big().value * b.big().value)});
}

Integer Integer::floor_divide(const Integer& a, const Integer& b) {
    if (b.is_zero()) throw Fault("division by zero");
    const cpp_int x = a.big().value;
    const cpp_int y = b.big().value;
    cpp_int quotient = x / y;  // towards zero
    if (x % y != 0 && (x < 0) != (y < 0)) quotient -= 1;
    return of_big({std::move(quotient)});
}

Integer Integer::modulo(const Integer& a, const Integer& b) { return a - floor_divide(a, b) * b; }

Integer Integer::power(const Integer& base, int64_t exponent) {
    const bool stays_one = base.is_small() && std::abs(base.small()) <= 1;
    if (!stays_one && exponent * std::max(base.bits() - 1, 1) > kMaxBits)
        throw Fault(fmt::format("makes an integer of more than {} bits", kMaxBits));
    const auto times = static_cast<unsigned>(stays_one ? exponent % 2 + 2 : exponent);
    return of_big({exponent == 0 ? cpp_int(1) : cpp_int(pow(base.big().value, times))});
}

double Integer::divide(const Integer& a, const Integer& b) {
    if (b.is_zero()) throw Fault("division by zero");
    return a.to_double() / b.to_double();
}

int Integer::compare(const Integer& a, const Integer& b) {
    if (a.is_small() && b.is_small())
        return a.small() < b.small() ? -1 : a.small() > b.small() ? 1 : 0;
    return a.big().value.compare(b.big().value);
}

int Integer::compare(const Integer& a, double b) {
    if (std::isinf(b)) return b > 0 ? -1 : 1;
    const double whole = std::trunc(b);
    const int order = sign_of(cpp_int(a.big().value - cpp_int(whole)).sign());
    return order != 0 ? order : sign_of(whole - b);
}

}  // namespace hetune::jinja
