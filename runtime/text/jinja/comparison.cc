#include "runtime/text/jinja/comparison.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace hetune::jinja {

bool equal(const Value& a, const Value& b) {
    if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
    if (a.is_number() && b.is_number()) {
        if (a.is_whole() && b.is_whole())
            return Integer::compare(a.as_integer(), b.as_integer()) == 0;
        if (a.is_float() && b.is_float()) return a.as_double() == b.as_double();
        const double real = a.is_float() ? a.as_double() : b.as_double();
        return !std::isnan(real) &&
               Integer::compare(a.is_float() ? b.as_integer() : a.as_integer(), real) == 0;
    }
    if (a.is_text() && b.is_text()) return a.as_text() == b.as_text();
    if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
    if (a.identity() != nullptr && a.identity() == b.identity()) return true;
    if (a.sequence() != nullptr && b.sequence() != nullptr)
        return a.sequence()->kind == b.sequence()->kind &&
               std::ranges::equal(a.sequence()->items, b.sequence()->items, equal);
    if (a.is_dict() && b.is_dict()) {
        if (a.length() != b.length()) return false;
        return std::ranges::all_of(a.dict()->entries, [&](const auto& entry) {
            const Value* other = b.dict()->find(entry.first);
            return other != nullptr && equal(entry.second, *other);
        });
    }
    return false;
}

bool same(const Value& a, const Value& b) {
    if (a.type() != b.type()) return false;
    if (a.sequence() != nullptr || a.is_dict() || a.object() != nullptr || a.is_iterator())
        return a.identity() == b.identity();
    return equal(a, b);  // Python keeps short texts and small numbers once
}

int compare(const Value& a, const Value& b) {
    const auto sign = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
    a.need_defined();
    b.need_defined();
    if (a.is_text() && b.is_text()) return sign(a.as_text(), b.as_text());
    if (a.is_number() && b.is_number()) {
        if (a.is_whole() && b.is_whole()) return Integer::compare(a.as_integer(), b.as_integer());
        if (a.is_float() && b.is_float()) return sign(a.as_double(), b.as_double());
        return a.is_float() ? -Integer::compare(b.as_integer(), a.as_double())
                            : Integer::compare(a.as_integer(), b.as_double());
    }
    const bool lists = (a.is_list() && b.is_list()) || (a.is_tuple() && b.is_tuple());
    if (!lists) throw Fault(fmt::format("cannot compare {} with {}", a.kind(), b.kind()));
    const auto& x = a.sequence()->items;
    const auto& y = b.sequence()->items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
        if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    return sign(x.size(), y.size());
}

bool contains(const Value& haystack, const Value& needle) {
    if (haystack.is_text()) return haystack.as_text().find(needle.as_text()) != std::string::npos;
    if (haystack.is_dict()) return haystack.dict()->find(needle) != nullptr;
    if (haystack.object() != nullptr || haystack.is_none() || haystack.is_number())
        throw Fault("cannot look for something in " + haystack.kind());
    return std::ranges::any_of(haystack.items(),
                               [&](const Value& element) { return equal(element, needle); });
}

size_t hash(const Value& value) {
    if (value.is_text()) return std::hash<std::string>()(value.as_text());
    if (value.is_whole()) return value.as_integer().hash();
    if (value.is_float()) {
        const double number = value.as_double();
        return std::isfinite(number) && number == std::trunc(number)
                   ? Integer::of_double(number).hash()
                   : std::hash<double>()(number);
    }
    if (value.is_tuple()) {
        size_t code = 7;
        for (const Value& item : value.sequence()->items) code = code * 1000003 ^ hash(item);
        return code;
    }
    if (value.is_dict() || (value.sequence() != nullptr && !value.is_tuple()))
        throw Fault(value.kind() + " cannot be the key of a dict");
    return std::hash<const void*>()(value.identity()) + (value.is_none() ? 1 : 0);
}

}  // namespace hetune::jinja
