// Python's integers: without a limit but that of kMaxBits, which no template of a model comes near.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace hetune::jinja {

struct BigInteger;  // of more than 64 bits

class Integer {
  public:
    Integer(int64_t value = 0) : value_(value) {}
    static Integer of_unsigned(uint64_t value);
    static Integer of_double(double value);  // finite; the fraction is cut off
    // Digits of `base` (2 to 36) behind an optional sign, underscores between digits as in Python;
    // none for another text.
    static std::optional<Integer> parse(std::string_view text, int base);

    bool is_small() const { return std::holds_alternative<int64_t>(value_); }
    int64_t small() const;     // throws Fault for what does not fit
    double to_double() const;  // throws Fault for what does not fit
    std::string text(int base = 10) const;
    bool is_zero() const { return is_small() && small() == 0; }
    size_t hash() const;
    int bits() const;

    Integer operator-() const;
    friend Integer operator+(const Integer& a, const Integer& b);
    friend Integer operator-(const Integer& a, const Integer& b);
    friend Integer operator*(const Integer& a, const Integer& b);
    // Rounded down; the remainder has the divisor's sign. Throws Fault for a divisor of 0.
    static Integer floor_divide(const Integer& a, const Integer& b);
    static Integer modulo(const Integer& a, const Integer& b);
    static Integer power(const Integer& base, int64_t exponent);  // exponent >= 0
    static double divide(const Integer& a, const Integer& b);
    static int compare(const Integer& a, const Integer& b);  // below, equal or above zero
    static int compare(const Integer& a, double b);          // b is no NaN

    static constexpr int kMaxBits = 1 << 16;

  private:
    static Integer of_big(BigInteger big);
    BigInteger big() const;

    std::variant<int64_t, std::shared_ptr<const BigInteger>> value_;
};

}  // namespace hetune::jinja
