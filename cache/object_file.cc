#include "cache/object_file.h"

#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"

namespace hetune {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the head is stored as it lies in memory");

struct ObjectHead {
    char magic[8];
    uint32_t version;
    uint32_t entry_bytes;
    uint64_t parts_bytes;
    uint64_t code_bytes;
    uint64_t key_high;
    uint64_t key_low;
    double compile_ms;
    int32_t vgprs;
    int32_t sgprs;
    int32_t lds_bytes;
    int32_t scratch_bytes;
    int32_t spilled_vgprs;
    int32_t spilled_sgprs;
    int32_t max_threads;
    int32_t zero;
    int64_t resource_code_bytes;
    uint64_t zeros[4];
};
static_assert(sizeof(ObjectHead) == 128);

constexpr char kObjectMagic[8] = {'H', 'T', 'O', 'B', 'J', 'E', 'C', 'T'};
constexpr uint32_t kObjectVersion = 1;
constexpr size_t kHashBytes = 16;

// Lengths are checked one by one, so that their sum cannot overflow.
std::optional<ObjectHead> read_head(std::span<const std::byte> file) {
    ObjectHead head;
    if (file.size() < sizeof(head)) return std::nullopt;
    std::memcpy(&head, file.data(), sizeof(head));
    if (std::memcmp(head.magic, kObjectMagic, sizeof(kObjectMagic)) != 0 ||
        head.version != kObjectVersion || head.parts_bytes > kMaxObjectBytes ||
        head.code_bytes > kMaxObjectBytes)
        return std::nullopt;
    return head;
}

uint64_t file_bytes(const ObjectHead& head) {
    return sizeof(ObjectHead) + head.entry_bytes + head.parts_bytes + head.code_bytes + kHashBytes;
}

std::string text(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

std::vector<std::byte> encode_object(const CacheKey& key, const CodeObject& code,
                                     const KeyParts& parts) {
    const std::string json =
        nlohmann::json(parts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    ObjectHead head{};
    std::memcpy(head.magic, kObjectMagic, sizeof(kObjectMagic));
    head.version = kObjectVersion;
    head.entry_bytes = static_cast<uint32_t>(code.entry.size());
    head.parts_bytes = json.size();
    head.code_bytes = code.bytes.size();
    head.key_high = key.high;
    head.key_low = key.low;
    head.compile_ms = code.compile_ms;
    head.vgprs = code.resources.vgprs;
    head.sgprs = code.resources.sgprs;
    head.lds_bytes = code.resources.lds_bytes;
    head.scratch_bytes = code.resources.scratch_bytes;
    head.spilled_vgprs = code.resources.spilled_vgprs;
    head.spilled_sgprs = code.resources.spilled_sgprs;
    head.max_threads = code.resources.max_threads;
    head.resource_code_bytes = code.resources.code_bytes;

    std::vector<std::byte> file(file_bytes(head));
    std::byte* to = file.data();
    const auto append = [&to](const void* from, size_t size) {
        if (size > 0) std::memcpy(to, from, size);
        to += size;
    };
    append(&head, sizeof(head));
    append(code.entry.data(), code.entry.size());
    append(json.data(), json.size());
    append(code.bytes.data(), code.bytes.size());
    const CacheKey hash = content_hash(file.data(), file.size() - kHashBytes);
    append(&hash.high, sizeof(hash.high));
    append(&hash.low, sizeof(hash.low));
    return file;
}

std::optional<CodeObject> decode_object(std::span<const std::byte> file, const CacheKey& key) {
    const auto head = read_head(file);
    if (!head || file.size() != file_bytes(*head)) return std::nullopt;
    if (CacheKey{head->key_high, head->key_low} != key) return std::nullopt;
    CacheKey hash;
    std::memcpy(&hash.high, file.data() + file.size() - kHashBytes, sizeof(hash.high));
    std::memcpy(&hash.low, file.data() + file.size() - sizeof(hash.low), sizeof(hash.low));
    if (content_hash(file.data(), file.size() - kHashBytes) != hash) return std::nullopt;

    CodeObject code;
    code.entry = text(file.subspan(sizeof(ObjectHead), head->entry_bytes));
    const auto bytes =
        file.subspan(sizeof(ObjectHead) + head->entry_bytes + head->parts_bytes, head->code_bytes);
    code.bytes.assign(bytes.begin(), bytes.end());
    code.compile_ms = head->compile_ms;
    code.resources = {.vgprs = head->vgprs,
                      .sgprs = head->sgprs,
                      .lds_bytes = head->lds_bytes,
                      .scratch_bytes = head->scratch_bytes,
                      .spilled_vgprs = head->spilled_vgprs,
                      .spilled_sgprs = head->spilled_sgprs,
                      .max_threads = head->max_threads,
                      .code_bytes = head->resource_code_bytes};
    return code;
}

std::optional<ObjectInfo> decode_object_info(std::span<const std::byte> file) {
    const auto head = read_head(file);
    if (!head || file.size() < sizeof(ObjectHead) + head->entry_bytes + head->parts_bytes)
        return std::nullopt;
    ObjectInfo info;
    info.key = {head->key_high, head->key_low};
    info.entry = text(file.subspan(sizeof(ObjectHead), head->entry_bytes));
    info.compile_ms = head->compile_ms;
    info.file_bytes = file_bytes(*head);
    try {
        const auto json = parse_json(
            text(file.subspan(sizeof(ObjectHead) + head->entry_bytes, head->parts_bytes)));
        if (!json.is_object()) return std::nullopt;
        for (const auto& [name, value] : json.items())
            if (value.is_string()) info.parts[name] = value.get<std::string>();
    } catch (const CacheError&) {
        return std::nullopt;
    }
    return info;
}

bool is_former_fact(const KeyParts& parts) { return parts.contains("object"); }

}  // namespace hetune
