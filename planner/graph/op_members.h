// Members, parts and texts that all operations share. An operation is a plain struct that lists its
// members by name and role; liveness, rewriting and texts go by that list, so that no code outside
// of a kind's own overloads knows which members a kind has.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace hetune {

using ValueId = int;
constexpr ValueId kNoValue = -1;

namespace ops {

// Roles of members. Numbers (bool, int, int64_t, double) are hyper-parameters.
struct Output {
    ValueId id = kNoValue;
    Output() = default;
    Output(ValueId value) : id(value) {}
    operator ValueId() const { return id; }
};
struct Input {
    ValueId id = kNoValue;
    Input() = default;
    Input(ValueId value) : id(value) {}
    Input(const Output& made) : id(made.id) {}
    operator ValueId() const { return id; }
};
// The name of a tensor of the model file; empty where an operation goes without it.
struct Weight {
    std::string name;
    Weight() = default;
    Weight(std::string tensor) : name(std::move(tensor)) {}
    operator const std::string&() const { return name; }
    operator std::string_view() const { return name; }
    bool empty() const { return name.empty(); }
    bool operator==(const Weight&) const = default;
};

// A struct with `static void members(auto& self, auto&& member)` that calls member("x", self.x) for
// each of its members, in their order: an operation, or a part that several of them share.
template <class T>
concept Part = requires(T& part) {
    T::members(part, [](std::string_view, auto&) {});
};

// An operation has a name besides, which texts, PlanOptions::without and tunings use.
template <class T>
concept Operation = Part<T> && std::equality_comparable<T> && requires {
    { T::kKind } -> std::convertible_to<std::string_view>;
};

namespace detail {

template <class T>
constexpr bool is_list = false;
template <class T>
constexpr bool is_list<std::vector<T>> = true;
template <class T>
constexpr bool is_list<std::optional<T>> = true;

template <class T, class See>
void walk(std::string_view part, std::string_view name, T& member, See& see) {
    using Member = std::remove_const_t<T>;
    if constexpr (is_list<Member>) {
        if constexpr (requires { member.has_value(); }) {
            if (member) walk(part, name, *member, see);
        } else {
            for (auto& element : member) walk(part, name, element, see);
        }
    } else if constexpr (Part<Member>) {
        Member::members(member,
                        [&](std::string_view inner, auto& of) { walk(name, inner, of, see); });
    } else {
        see(part, name, member);
    }
}

// Stands for a value of any type, to count how many an aggregate takes.
struct Anything {
    template <class T>
    operator T() const;
};
template <class T, class... Values>
constexpr int count_members() {
    if constexpr (requires { T{Values{}..., Anything{}}; })
        return count_members<T, Values..., Anything>();
    else
        return sizeof...(Values);
}
template <Part T>
constexpr int count_listed() {
    T part;
    int count = 0;
    T::members(part, [&](std::string_view, auto&) { ++count; });
    return count;
}

}  // namespace detail

// Whether T::members leaves none out. Counted by g++ alone: clang 19 takes no std::string of
// libstdc++ 12 for a constant.
template <Part T>
#ifdef __clang__
constexpr bool lists_all_members = true;
#else
constexpr bool lists_all_members = detail::count_members<T>() == detail::count_listed<T>();
#endif

// Calls see(part, name, member) for each Input, Output, Weight and number of an operation; `part`
// is the name of the part that has the member, or empty.
template <Part T, class See>
void each_member(T& op, See&& see) {
    detail::walk({}, {}, op, see);
}
template <class... T, class See>
void each_member(std::variant<T...>& op, See&& see) {
    std::visit([&](auto& of_kind) { each_member(of_kind, see); }, op);
}
template <class... T, class See>
void each_member(const std::variant<T...>& op, See&& see) {
    std::visit([&](const auto& of_kind) { each_member(of_kind, see); }, op);
}

// Calls see(member) for the members of one role.
template <class Role, class Op, class See>
void each(Op& op, See&& see) {
    each_member(op, [&](std::string_view, std::string_view, auto& member) {
        if constexpr (std::same_as<std::remove_cvref_t<decltype(member)>, Role>) see(member);
    });
}

}  // namespace ops

template <class Op>
std::vector<ValueId> inputs_of(const Op& op) {
    std::vector<ValueId> values;
    ops::each<ops::Input>(op, [&](const ops::Input& input) { values.push_back(input); });
    return values;
}
template <class Op>
std::vector<ValueId> outputs_of(const Op& op) {
    std::vector<ValueId> values;
    ops::each<ops::Output>(op, [&](const ops::Output& output) { values.push_back(output); });
    return values;
}
// Without those that are empty.
template <class Op>
std::vector<std::string> weights_of(const Op& op) {
    std::vector<std::string> names;
    ops::each<ops::Weight>(op, [&](const ops::Weight& weight) {
        if (!weight.empty()) names.push_back(weight);
    });
    return names;
}
template <class Op>
bool reads(const Op& op, ValueId value) {
    bool found = false;
    ops::each<ops::Input>(op, [&](const ops::Input& input) { found |= input == value; });
    return found;
}
template <class Op>
bool makes(const Op& op, ValueId value) {
    bool found = false;
    ops::each<ops::Output>(op, [&](const ops::Output& output) { found |= output == value; });
    return found;
}
template <class... T>
std::string_view kind_of(const std::variant<T...>& op) {
    return std::visit([](const auto& of_kind) -> std::string_view { return of_kind.kKind; }, op);
}

}  // namespace hetune
