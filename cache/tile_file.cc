#include "cache/tile_file.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

namespace hetune {
namespace {

struct TilesHead {
    char magic[8];
    uint32_t version;
    uint32_t tensors;
    uint64_t directory_bytes;
    uint64_t file_bytes;
    uint64_t hash_high;  // of this head, with zeros here, followed by the directory
    uint64_t hash_low;
    uint64_t zeros[2];
};
static_assert(sizeof(TilesHead) == 64);

constexpr char kTilesMagic[8] = {'H', 'T', 'T', 'I', 'L', 'E', 'S', '\n'};
constexpr uint32_t kTilesVersion = 1;
constexpr uint64_t kMaxDirectoryBytes = 64 << 20;

struct JournalHead {
    char magic[8];
    uint64_t plan_high;
    uint64_t plan_low;
};
constexpr char kJournalMagic[8] = {'H', 'T', 'T', 'I', 'L', 'E', 'S', '?'};

uint64_t round_up(uint64_t bytes) {
    return (bytes + kTileAlignment - 1) / kTileAlignment * kTileAlignment;
}

// The same length whatever the hashes, so that the place of the first tensor is known beforehand.
std::string directory_of(const std::vector<TileEntry>& entries) {
    auto list = nlohmann::ordered_json::array();
    for (const TileEntry& entry : entries)
        list.push_back({{"name", entry.name},
                        {"offset", entry.offset},
                        {"bytes", entry.bytes},
                        {"hash", entry.hash.hex()}});
    return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

CacheKey hash_of(TilesHead head, std::string_view directory) {
    head.hash_high = head.hash_low = 0;
    std::string all(reinterpret_cast<const char*>(&head), sizeof(head));
    all += directory;
    return content_hash(all.data(), all.size());
}

std::optional<TileEntry> read_entry(const nlohmann::json& item, uint64_t data_start,
                                    uint64_t file_bytes) {
    TileEntry entry;
    entry.name = item.value("name", "");
    entry.offset = item.value("offset", uint64_t{0});
    entry.bytes = item.value("bytes", uint64_t{0});
    const auto hash = CacheKey::from_hex(item.value("hash", ""));
    if (!hash || entry.offset % kTileAlignment != 0 || entry.offset < data_start ||
        entry.offset > file_bytes || entry.bytes > file_bytes - entry.offset)
        return std::nullopt;
    entry.hash = *hash;
    return entry;
}

}  // namespace

bool is_layout_name(std::string_view name) {
    constexpr std::string_view kAllowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    return !name.empty() && name.size() < 200 && name[0] != '.' &&
           name.find_first_not_of(kAllowed) == name.npos;
}

uint64_t lay_out_tiles(std::vector<TileEntry>& entries) {
    // Offsets are printed, so the directory is measured with the longest ones there can be.
    for (TileEntry& entry : entries) entry.offset = UINT64_MAX;
    const uint64_t journal = sizeof(JournalHead) + entries.size() * sizeof(CacheKey);
    uint64_t offset = round_up(std::max(sizeof(TilesHead) + directory_of(entries).size(), journal));
    for (TileEntry& entry : entries) {
        entry.offset = offset;
        offset += round_up(entry.bytes);
    }
    return offset;
}

std::vector<std::byte> encode_tile_head(const std::vector<TileEntry>& entries,
                                        uint64_t file_bytes) {
    const std::string directory = directory_of(entries);
    TilesHead head{};
    std::memcpy(head.magic, kTilesMagic, sizeof(kTilesMagic));
    head.version = kTilesVersion;
    head.tensors = static_cast<uint32_t>(entries.size());
    head.directory_bytes = directory.size();
    head.file_bytes = file_bytes;
    const CacheKey hash = hash_of(head, directory);
    head.hash_high = hash.high;
    head.hash_low = hash.low;
    std::vector<std::byte> bytes(sizeof(head) + directory.size());
    std::memcpy(bytes.data(), &head, sizeof(head));
    std::memcpy(bytes.data() + sizeof(head), directory.data(), directory.size());
    return bytes;
}

std::optional<std::vector<TileEntry>> decode_tile_head(std::span<const std::byte> file) try {
    TilesHead head;
    if (file.size() < sizeof(head)) return std::nullopt;
    std::memcpy(&head, file.data(), sizeof(head));
    if (std::memcmp(head.magic, kTilesMagic, sizeof(kTilesMagic)) != 0 ||
        head.version != kTilesVersion || head.file_bytes != file.size() ||
        head.directory_bytes > kMaxDirectoryBytes ||
        head.directory_bytes > file.size() - sizeof(head))
        return std::nullopt;
    const std::string_view directory(reinterpret_cast<const char*>(file.data()) + sizeof(head),
                                     head.directory_bytes);
    if (hash_of(head, directory) != CacheKey{head.hash_high, head.hash_low}) return std::nullopt;

    std::vector<TileEntry> entries;
    for (const auto& item : nlohmann::json::parse(directory)) {
        auto entry = read_entry(item, sizeof(head) + head.directory_bytes, file.size());
        if (!entry) return std::nullopt;
        entries.push_back(*std::move(entry));
    }
    if (entries.size() != head.tensors) return std::nullopt;
    return entries;
} catch (const nlohmann::json::exception&) {
    return std::nullopt;
}

TileJournal::TileJournal(std::span<std::byte> file, const std::vector<TileEntry>& entries)
    : file_(file), tensors_(entries.size()) {
    std::vector<TileEntry> plan = entries;
    for (TileEntry& entry : plan) entry.hash = {};
    const std::string text = directory_of(plan);
    plan_ = content_hash(text.data(), text.size());
}

bool TileJournal::matches() const {
    JournalHead head;
    std::memcpy(&head, file_.data(), sizeof(head));
    return std::memcmp(head.magic, kJournalMagic, sizeof(kJournalMagic)) == 0 &&
           CacheKey{head.plan_high, head.plan_low} == plan_;
}

void TileJournal::reset() {
    JournalHead head{};
    std::memcpy(head.magic, kJournalMagic, sizeof(kJournalMagic));
    head.plan_high = plan_.high;
    head.plan_low = plan_.low;
    std::memcpy(file_.data(), &head, sizeof(head));
    std::memset(file_.data() + sizeof(head), 0, tensors_ * sizeof(CacheKey));
}

void TileJournal::set_finished(size_t tensor, const CacheKey& hash) {
    std::memcpy(file_.data() + sizeof(JournalHead) + tensor * sizeof(hash), &hash, sizeof(hash));
}

std::optional<CacheKey> TileJournal::finished(size_t tensor) const {
    CacheKey hash;
    std::memcpy(&hash, file_.data() + sizeof(JournalHead) + tensor * sizeof(hash), sizeof(hash));
    return hash == CacheKey{} ? std::nullopt : std::optional(hash);
}

}  // namespace hetune
