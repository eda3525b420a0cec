// Element types of the KV cache, as plans name them (kernel_templates/attention/kv_type.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

enum class KvType { kF16, kBF16, kF32, kQ8 };

std::string_view to_string(KvType type);  // "f16", "bf16", "f32", "q8"
KvType kv_type(std::string_view name);    // throws std::runtime_error, which lists them
std::vector<std::string> kv_type_names();
std::string kv_functor(KvType type);  // "KvF16": the type's name in kernel_templates
int64_t kv_row_bytes(KvType type, int64_t heads, int64_t head_size);  // of one position, K or V

}  // namespace hetune
