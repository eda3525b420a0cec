#include "cache/tile_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"

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
constexpr uint64_t kMaxDirectoryBytes = 64 << 20;

struct JournalHead {
    char magic[8];
    uint64_t plan_high;
    uint64_t plan_low;
    int64_t writer;  // its process
};
static_assert(sizeof(JournalHead) == TileJournal::kHeadBytes);
constexpr char kJournalMagic[8] = {'H', 'T', 'T', 'I', 'L', 'E', 'S', '?'};

uint64_t round_up(uint64_t bytes) {
    return (bytes + kTileAlignment - 1) / kTileAlignment * kTileAlignment;
}

// The same length whatever the hashes, so that the place of the first tensor is known beforehand.
std::string directory_of(const TileHead& head) {
    auto list = nlohmann::ordered_json::array();
    for (const TileEntry& entry : head.entries)
        list.push_back({{"name", entry.name},
                        {"offset", entry.offset},
                        {"bytes", entry.bytes},
                        {"hash", entry.hash.hex()},
                        {"source", entry.source.hex()}});
    return nlohmann::ordered_json{
        {"model", head.model.hex()}, {"layout", head.layout}, {"tensors", std::move(list)}}
        .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

CacheKey hash_of(TilesHead head, std::string_view directory) {
    head.hash_high = head.hash_low = 0;
    std::string all(reinterpret_cast<const char*>(&head), sizeof(head));
    all += directory;
    return content_hash(all.data(), all.size());
}

CacheKey read_hash(const nlohmann::ordered_json& item, const char* name) {
    const auto hash = CacheKey::from_hex(json_value<std::string>(item, name));
    if (!hash) throw CacheError(fmt::format("its '{}' is no hash", name));
    return *hash;
}

std::optional<TileEntry> read_entry(const nlohmann::ordered_json& item, uint64_t data_start,
                                    uint64_t file_bytes) {
    TileEntry entry{json_value<std::string>(item, "name"), json_value<uint64_t>(item, "bytes"),
                    json_value<uint64_t>(item, "offset"), read_hash(item, "hash"),
                    read_hash(item, "source")};
    if (entry.offset % kTileAlignment != 0 || entry.offset < data_start ||
        entry.offset > file_bytes || entry.bytes > file_bytes - entry.offset)
        return std::nullopt;
    return entry;
}

std::optional<TilesHead> read_tiles_head(std::span<const std::byte> file) {
    TilesHead head;
    if (file.size() < sizeof(head)) return std::nullopt;
    std::memcpy(&head, file.data(), sizeof(head));
    if (std::memcmp(head.magic, kTilesMagic, sizeof(kTilesMagic)) != 0) return std::nullopt;
    return head;
}

}  // namespace

bool is_layout_name(std::string_view name) {
    constexpr std::string_view kAllowed =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    return !name.empty() && name.size() < 200 && name[0] != '.' &&
           name.find_first_not_of(kAllowed) == name.npos;
}

uint64_t lay_out_tiles(TileHead& head) {
    // Offsets are printed, so the directory is measured with the longest ones there can be.
    for (TileEntry& entry : head.entries) entry.offset = UINT64_MAX;
    const uint64_t journal =
        sizeof(JournalHead) + head.entries.size() * sizeof(TileJournal::Finished);
    uint64_t offset = round_up(std::max(sizeof(TilesHead) + directory_of(head).size(), journal));
    for (TileEntry& entry : head.entries) {
        entry.offset = offset;
        offset += round_up(entry.bytes);
    }
    return offset;
}

std::vector<std::byte> encode_tile_head(const TileHead& pack, uint64_t file_bytes) {
    const std::string directory = directory_of(pack);
    TilesHead head{};
    std::memcpy(head.magic, kTilesMagic, sizeof(kTilesMagic));
    head.version = kTilesVersion;
    head.tensors = static_cast<uint32_t>(pack.entries.size());
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

std::optional<TileHead> decode_tile_head(std::span<const std::byte> file) try {
    const auto head = read_tiles_head(file);
    if (!head || head->version != kTilesVersion || head->file_bytes != file.size() ||
        head->directory_bytes > kMaxDirectoryBytes ||
        head->directory_bytes > file.size() - sizeof(TilesHead))
        return std::nullopt;
    const std::string_view directory(reinterpret_cast<const char*>(file.data()) + sizeof(TilesHead),
                                     head->directory_bytes);
    if (hash_of(*head, directory) != CacheKey{head->hash_high, head->hash_low}) return std::nullopt;

    const auto json = parse_json(directory);
    TileHead pack{read_hash(json, "model"), json_value<std::string>(json, "layout"), {}};
    for (const auto& item : json.at("tensors")) {
        auto entry = read_entry(item, sizeof(TilesHead) + head->directory_bytes, file.size());
        if (!entry) return std::nullopt;
        pack.entries.push_back(*std::move(entry));
    }
    if (pack.entries.size() != head->tensors) return std::nullopt;
    return pack;
} catch (const CacheError&) {
    return std::nullopt;
} catch (const nlohmann::json::exception&) {  // no "tensors"
    return std::nullopt;
}

uint32_t pack_version(std::span<const std::byte> file) {
    const auto head = read_tiles_head(file);
    return head ? head->version : 0;
}

TileJournal::TileJournal(std::span<std::byte> file, const TileHead& head)
    : file_(file), tensors_(head.entries.size()) {
    TileHead plan = head;
    for (TileEntry& entry : plan.entries) entry.hash = entry.source = {};
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
    std::memset(file_.data() + sizeof(JournalHead), 0, tensors_ * sizeof(Finished));
    take_over();
}

void TileJournal::take_over() {
    JournalHead head{};
    std::memcpy(head.magic, kJournalMagic, sizeof(kJournalMagic));
    head.plan_high = plan_.high;
    head.plan_low = plan_.low;
    head.writer = getpid();
    std::memcpy(file_.data(), &head, sizeof(head));
}

void TileJournal::set_finished(size_t tensor, const Finished& hashes) {
    std::byte* to = file_.data() + sizeof(JournalHead) + tensor * sizeof(hashes);
    // A kill may fall between the two: without `hash` the tensor is not finished.
    std::memcpy(to + offsetof(Finished, source), &hashes.source, sizeof(hashes.source));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    std::memcpy(to + offsetof(Finished, hash), &hashes.hash, sizeof(hashes.hash));
}

std::optional<TileJournal::Finished> TileJournal::finished(size_t tensor) const {
    Finished hashes;
    std::memcpy(&hashes, file_.data() + sizeof(JournalHead) + tensor * sizeof(hashes),
                sizeof(hashes));
    return hashes.hash == CacheKey{} ? std::nullopt : std::optional(hashes);
}

int64_t TileJournal::writer_of(std::span<const std::byte> file) {
    JournalHead head;
    if (file.size() < sizeof(head)) return 0;
    std::memcpy(&head, file.data(), sizeof(head));
    return std::memcmp(head.magic, kJournalMagic, sizeof(kJournalMagic)) == 0 ? head.writer : 0;
}

}  // namespace hetune
