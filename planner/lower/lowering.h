// One way to turn an operation of a kind into steps of a plan.
#pragma once

#include <span>
#include <string_view>

namespace hetune {

class PlanBuilder;

template <class T>
struct Lowering {
    std::string_view variant;                              // "gemv"; shown in plans
    bool (*fits)(const PlanBuilder&, const T&) = nullptr;  // nullptr: always
    void (*emit)(PlanBuilder&, const T&);
};

template <class T>
using Lowerings = std::span<const Lowering<T>>;

}  // namespace hetune
