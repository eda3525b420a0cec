#include "planner/lower/lowerings.h"

#include <fmt/format.h>

namespace hetune {
namespace {

template <class T>
void add_names(std::vector<std::string>& names) {
    const Lowerings<T> all = lowerings(T());
    if (all.size() < 2) return;
    for (const Lowering<T>& lowering : all)
        names.push_back(lowering_name(T::kKind, lowering.variant));
}

template <class... T>
std::vector<std::string> names_of_kinds(const std::variant<T...>*) {
    std::vector<std::string> names;
    (add_names<T>(names), ...);
    return names;
}

}  // namespace

std::string lowering_name(std::string_view kind, std::string_view variant) {
    return fmt::format("{}/{}", kind, variant);
}

std::vector<std::string> lowerings_with_another() {
    return names_of_kinds(static_cast<const Op*>(nullptr));
}

}  // namespace hetune
