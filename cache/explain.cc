#include "cache/explain.h"

namespace hetune {
namespace {

std::vector<PartDifference> differences_of(const KeyParts& before, const KeyParts& now) {
    std::vector<PartDifference> differences;
    for (const auto& [name, value] : now) {
        const auto old = before.find(name);
        if (old == before.end())
            differences.push_back({name, "", value});
        else if (old->second != value)
            differences.push_back({name, old->second, value});
    }
    for (const auto& [name, value] : before)
        if (!now.contains(name)) differences.push_back({name, value, ""});
    return differences;
}

}  // namespace

std::optional<MissReason> explain_miss(const KeyParts& parts, std::span<const ObjectRow> earlier) {
    std::optional<MissReason> reason;
    for (const ObjectRow& row : earlier) {
        auto differences = differences_of(row.parts, parts);
        if (!reason || differences.size() <= reason->differences.size())
            reason = {row, std::move(differences)};
    }
    return reason;
}

}  // namespace hetune
