// The filters of builtins.h that make numbers.
#include <charconv>
#include <cmath>
#include <string>
#include <unordered_map>

#include "runtime/text/jinja/builtins.h"
#include "runtime/text/jinja/text.h"

namespace hetune::jinja {
namespace {

// float(text); none for what is no number.
std::optional<double> parse_float(std::string_view text) {
    text = strip(text, "", true, true);
    std::string digits;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto is_digit = [&](size_t at) {
            return at < text.size() && text[at] >= '0' && text[at] <= '9';
        };
        if (text[i] == '_' && i > 0 && is_digit(i - 1) && is_digit(i + 1)) continue;
        digits += text[i];
    }
    std::string_view rest = digits;
    const bool negative = rest.starts_with('-');
    if (negative || rest.starts_with('+')) rest.remove_prefix(1);
    if (rest.empty() || rest[0] == '-' || rest[0] == '+') return {};
    double number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (end != rest.data() + rest.size()) return {};
    if (error == std::errc::result_out_of_range) {
        // Python takes what is too large for infinity, and what is too small for 0.
        const size_t exponent = rest.find_first_of("eE");
        const bool small = exponent != std::string_view::npos &&
                           rest.substr(exponent).find('-') != std::string_view::npos;
        number = small ? 0.0 : HUGE_VAL;
    } else if (error != std::errc()) {
        return {};
    }
    return negative ? -number : number;
}

std::optional<Integer> parse_integer(std::string_view text, int64_t base) {
    text = strip(text, "", true, true);
    if (base != 0 && (base < 2 || base > 36)) return {};
    std::string digits(text);
    const size_t sign = digits.starts_with('-') || digits.starts_with('+') ? 1 : 0;
    const std::string prefix = lower(digits.substr(sign, 2));
    const int of_prefix = prefix == "0x" ? 16 : prefix == "0o" ? 8 : prefix == "0b" ? 2 : 0;
    if (of_prefix != 0 && (base == 0 || base == of_prefix)) {
        digits.erase(sign, 2);
        if (digits.substr(sign).starts_with('_')) digits.erase(sign, 1);
        base = of_prefix;
    }
    return Integer::parse(digits, base == 0 ? 10 : static_cast<int>(base));
}

Value to_integer(const Value& input, const Arguments& arguments) {
    arguments.check({"default", "base"});
    const Value* given = arguments.find(0, "default");
    const Value fallback = given == nullptr ? Value::of(0) : *given;
    input.need_defined();
    std::optional<double> number;
    if (input.is_whole()) return Value::of(input.as_integer());
    if (input.is_float()) number = input.as_double();
    if (number && std::isinf(*number)) throw Fault("infinity is no integer");
    if (input.is_text()) {
        const int64_t base = arguments.integer(1, "base").value_or(10);
        if (const auto whole = parse_integer(input.as_text(), base)) return Value::of(*whole);
        number = parse_float(input.as_text());
    }
    if (!number || !std::isfinite(*number)) return fallback;
    return Value::of(Integer::of_double(*number));
}

Value to_float(const Value& input, const Arguments& arguments) {
    arguments.check({"default"});
    const Value* given = arguments.find(0, "default");
    input.need_defined();
    if (input.is_number()) return Value::of(input.as_double());
    if (input.is_text())
        if (const auto number = parse_float(input.as_text())) return Value::of(*number);
    return given == nullptr ? Value::of(0.0) : *given;
}

// `value` times ten to the `digits`, rounded by `how`, and back.
Value round_filter(const Value& input, const Arguments& arguments) {
    arguments.check({"precision", "method"});
    const int64_t digits = arguments.integer(0, "precision").value_or(0);
    const Value* given = arguments.find(1, "method");
    const std::string method = given == nullptr ? "common" : given->as_text();
    if (std::abs(digits) > 400) throw Fault("the precision is too large");
    if (method == "ceil" || method == "floor") {
        const double power = std::pow(10.0, static_cast<double>(digits));
        const double scaled = input.as_double() * power;
        return Value::of((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / power);
    }
    if (method != "common") throw Fault("method must be common, ceil or floor");
    if (input.is_whole()) {
        if (digits >= 0) return Value::of(input.as_integer());
        const Integer unit = Integer::power(10, -digits);
        const Integer rest = Integer::modulo(input.as_integer(), unit);
        const Integer down = input.as_integer() - rest;
        const int half = Integer::compare(rest + rest, unit);
        const bool odd = !Integer::modulo(Integer::floor_divide(down, unit), 2).is_zero();
        return Value::of(half > 0 || (half == 0 && odd) ? down + unit : down);
    }
    const double value = input.as_double();
    if (!std::isfinite(value)) return input;
    if (digits < 0) {
        const double power = std::pow(10.0, static_cast<double>(-digits));
        return Value::of(std::nearbyint(value / power) * power);
    }
    // As digits, which rounds the exact value: 2.675 is below the middle.
    return Value::of(*parse_float(fmt::format("{:.{}f}", value, digits)));
}

Value absolute(const Value& input, const Arguments& arguments) {
    arguments.check({});
    if (input.is_float()) return Value::of(std::abs(input.as_double()));
    const Integer value = input.as_integer();
    return Value::of(Integer::compare(value, Integer(0)) < 0 ? -value : value);
}

}  // namespace

Filter find_number_filter(std::string_view name) {
    static const std::unordered_map<std::string_view, Filter> kFilters = {
        {"abs", absolute},
        {"float", to_float},
        {"int", to_integer},
        {"round", round_filter},
    };
    const auto found = kFilters.find(name);
    return found == kFilters.end() ? nullptr : found->second;
}

}  // namespace hetune::jinja
