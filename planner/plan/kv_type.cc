#include "planner/plan/kv_type.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

namespace hetune {
namespace {

struct KvTypeInfo {
    KvType type;
    std::string_view name, functor;
    int64_t element_bytes;
    int64_t scale_bytes;  // of a head, behind the values of all
};

constexpr KvTypeInfo kKvTypes[] = {
    {KvType::kF16, "f16", "KvF16", 2, 0},
    {KvType::kBF16, "bf16", "KvBF16", 2, 0},
    {KvType::kF32, "f32", "KvF32", 4, 0},
    {KvType::kQ8, "q8", "KvQ8", 1, 4},
};

const KvTypeInfo& info(KvType type) { return kKvTypes[static_cast<size_t>(type)]; }

}  // namespace

std::string_view to_string(KvType type) { return info(type).name; }

KvType kv_type(std::string_view name) {
    for (const KvTypeInfo& type : kKvTypes)
        if (type.name == name) return type.type;
    throw std::runtime_error(
        fmt::format("unknown KV type '{}'; known: {}", name, fmt::join(kv_type_names(), ", ")));
}

std::vector<std::string> kv_type_names() {
    std::vector<std::string> names;
    for (const KvTypeInfo& type : kKvTypes) names.emplace_back(type.name);
    return names;
}

std::string kv_functor(KvType type) { return std::string(info(type).functor); }

int64_t kv_row_bytes(KvType type, int64_t heads, int64_t head_size) {
    return heads * head_size * info(type).element_bytes +
           (heads * info(type).scale_bytes + 15) / 16 * 16;
}

}  // namespace hetune
