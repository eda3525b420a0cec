#include "cache/bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cache/index.h"
#include "cache/object_file.h"
#include "cache/tile_file.h"

namespace hetune {
namespace {

constexpr std::array<char, 8> kMagic = {'H', 'T', 'B', 'U', 'N', 'D', 'L', 'E'};
constexpr uint64_t kVersion = 1;
constexpr uint64_t kMaxManifestBytes = 256 << 20;
constexpr uint64_t kMaxRatio = 1000;  // code objects compress 3 to 20 times
constexpr size_t kPieceBytes = 4 << 20;
constexpr int kZstdLevel = 9;
constexpr size_t kHashBytes = 32;

using Hash = std::array<unsigned char, kHashBytes>;

struct Head {
    std::array<char, 8> magic;
    uint64_t version;
};

struct Trailer {
    uint64_t offset;
    uint64_t stored_bytes;
    uint64_t bytes;
    Hash hash;
    std::array<char, 8> magic;
};
static_assert(sizeof(Head) == 16 && sizeof(Trailer) == 64);

class Blake2b {
  public:
    Blake2b() { crypto_generichash_init(&state_, nullptr, 0, kHashBytes); }
    void add(std::span<const std::byte> bytes) {
        crypto_generichash_update(&state_, reinterpret_cast<const unsigned char*>(bytes.data()),
                                  bytes.size());
    }
    Hash finish() {
        Hash hash;
        crypto_generichash_final(&state_, hash.data(), hash.size());
        return hash;
    }

  private:
    crypto_generichash_state state_;
};

Hash blake2b(std::span<const std::byte> bytes) {
    Blake2b hash;
    hash.add(bytes);
    return hash.finish();
}

std::string hex(const Hash& hash) {
    std::string text;
    for (const unsigned char byte : hash) text += fmt::format("{:02x}", byte);
    return text;
}

std::vector<std::byte> compress(std::span<const std::byte> bytes) {
    std::vector<std::byte> stored(ZSTD_compressBound(bytes.size()));
    const size_t size =
        ZSTD_compress(stored.data(), stored.size(), bytes.data(), bytes.size(), kZstdLevel);
    if (ZSTD_isError(size)) throw CacheError(fmt::format("zstd: {}", ZSTD_getErrorName(size)));
    stored.resize(size);
    return stored;
}

// Empty unless `stored` is exactly `bytes` bytes compressed.
std::optional<std::vector<std::byte>> decompress(std::span<const std::byte> stored,
                                                 uint64_t bytes) {
    std::vector<std::byte> content(bytes);
    const size_t size =
        ZSTD_decompress(content.data(), content.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) || size != bytes) return std::nullopt;
    return content;
}

// objects/ab/KEY, tiles/MODEL/LAYOUT.tiles or tunings/KEY.json: no other path exists, so none
// leaves the folder.
bool is_member_path(std::string_view path) {
    if (path.starts_with("tunings/"))
        return path.size() == 45 && path.ends_with(".json") && CacheKey::from_hex(path.substr(8, 32));
    if (path.starts_with("objects/")) {
        const auto key = path.size() == 43 ? CacheKey::from_hex(path.substr(11)) : std::nullopt;
        return key && path[10] == '/' && path.substr(8, 2) == path.substr(11, 2);
    }
    if (!path.starts_with("tiles/") || !path.ends_with(".tiles") || path.size() < 46) return false;
    return CacheKey::from_hex(path.substr(6, 32)) && path[38] == '/' &&
           is_layout_name(path.substr(39, path.size() - 39 - 6));
}

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

}  // namespace

Bundle::Bundle(const std::filesystem::path& path)
    : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat info;
    if (!file_ || fstat(file_.get(), &info) != 0) fail(std::strerror(errno));
    if (!S_ISREG(info.st_mode)) fail("is no file");
    try {
        read_manifest(static_cast<uint64_t>(info.st_size));
    } catch (const nlohmann::json::exception& error) {
        fail("has a broken manifest");
    }
    for (size_t i = 0; i < members_.size(); ++i) by_path_.emplace(members_[i].path, i);
}

void Bundle::fail(std::string_view what) const {
    throw CacheError(fmt::format("bundle {}: {}", path_.string(), what));
}

void Bundle::read_at(uint64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
        const ssize_t got = pread(file_.get(), to.data(), to.size(), static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) fail(got < 0 ? std::strerror(errno) : "ends too early");
        to = to.subspan(static_cast<size_t>(got));
        offset += static_cast<uint64_t>(got);
    }
}

void Bundle::read_manifest(uint64_t file_bytes) {
    Head head{};
    Trailer trailer{};
    if (file_bytes < sizeof(head) + sizeof(trailer)) fail("is too short");
    read_at(0, std::as_writable_bytes(std::span(&head, 1)));
    if (head.magic != kMagic) fail("is no bundle");
    if (head.version != kVersion)
        fail(fmt::format("has format {}, this hetune reads {}", head.version, kVersion));
    const uint64_t end = file_bytes - sizeof(trailer);
    read_at(end, std::as_writable_bytes(std::span(&trailer, 1)));
    if (trailer.magic != kMagic) fail("is cut off");
    if (trailer.offset < sizeof(head) || trailer.offset > end ||
        trailer.stored_bytes != end - trailer.offset || trailer.bytes > kMaxManifestBytes ||
        trailer.bytes / kMaxRatio > trailer.stored_bytes)
        fail("has a broken trailer");
    std::vector<std::byte> stored(trailer.stored_bytes);
    read_at(trailer.offset, stored);
    if (blake2b(stored) != trailer.hash) fail("has a damaged manifest");
    const auto manifest = decompress(stored, trailer.bytes);
    if (!manifest) fail("has a manifest that cannot be decompressed");

    const auto* text = reinterpret_cast<const char*>(manifest->data());
    const auto json = nlohmann::json::parse(text, text + manifest->size());
    for (const auto& item : json.at("members")) {
        BundleMember member{item.at("path"), item.at("offset"), item.at("stored"), item.at("bytes"),
                            item.at("blake2b")};
        if (!is_member_path(member.path) ||
            (!members_.empty() && members_.back().path >= member.path))
            fail(fmt::format("names the member '{}'", member.path));
        if (member.offset < sizeof(head) || member.offset > trailer.offset ||
            member.stored_bytes > trailer.offset - member.offset)
            fail(fmt::format("'{}' does not lie inside it", member.path));
        if (member.is_compressed()
                ? member.bytes > kMaxObjectBytes || member.bytes / kMaxRatio > member.stored_bytes
                : member.bytes != member.stored_bytes)
            fail(fmt::format("'{}' claims {} bytes in {}", member.path, member.bytes,
                             member.stored_bytes));
        members_.push_back(std::move(member));
    }
}

const BundleMember* Bundle::find(std::string_view path) const {
    const auto found = by_path_.find(path);
    return found == by_path_.end() ? nullptr : &members_[found->second];
}

std::vector<std::byte> Bundle::read(const BundleMember& member) const {
    std::vector<std::byte> stored(member.stored_bytes);
    read_at(member.offset, stored);
    if (hex(blake2b(stored)) != member.blake2b) fail(fmt::format("'{}' is damaged", member.path));
    auto content = decompress(stored, member.bytes);
    if (!content) fail(fmt::format("'{}' cannot be decompressed", member.path));
    return *std::move(content);
}

void Bundle::read(const BundleMember& member,
                  const std::function<void(std::span<const std::byte>)>& use) const {
    if (member.is_compressed()) return use(read(member));
    Blake2b hash;
    std::vector<std::byte> piece;
    for (uint64_t done = 0; done < member.bytes; done += piece.size()) {
        piece.resize(std::min<uint64_t>(kPieceBytes, member.bytes - done));
        read_at(member.offset + done, piece);
        hash.add(piece);
        use(piece);
    }
    if (hex(hash.finish()) != member.blake2b) fail(fmt::format("'{}' is damaged", member.path));
}

std::optional<CodeObject> Bundle::find(const CacheKey& key) const {
    const BundleMember* member = find(object_name(key));
    if (member == nullptr) return std::nullopt;
    auto code = decode_object(read(*member), key);
    if (!code) fail(fmt::format("'{}' is no code object of this hetune", member->path));
    return code;
}

BundleWriter::BundleWriter(const std::filesystem::path& target)
    : target_(std::filesystem::absolute(target)), file_(target_.parent_path()) {
    write(bytes_of(Head{kMagic, kVersion}));
}

void BundleWriter::write(std::span<const std::byte> bytes) {
    file_.write(bytes);
    offset_ += bytes.size();
}

void BundleWriter::add(BundleMember member, std::span<const std::byte> stored) {
    member.offset = offset_;
    member.stored_bytes = stored.size();
    member.blake2b = hex(blake2b(stored));
    write(stored);
    members_.push_back(std::move(member));
}

void BundleWriter::add_object(const CacheKey& key, std::span<const std::byte> file) {
    add({.path = object_name(key), .bytes = file.size()}, compress(file));
}

void BundleWriter::add_tuning(std::string_view path, std::string_view text) {
    add({.path = std::string(path), .bytes = text.size()}, compress(std::as_bytes(std::span(text))));
}

void BundleWriter::add_pack(std::string_view model, std::string_view layout,
                            std::span<const std::byte> file) {
    const std::vector<std::byte> padding((kTileAlignment - offset_ % kTileAlignment) %
                                         kTileAlignment);
    write(padding);
    add({.path = fmt::format("tiles/{}/{}.tiles", model, layout), .bytes = file.size()}, file);
}

void BundleWriter::commit() {
    auto list = nlohmann::ordered_json::array();
    for (const BundleMember& member : members_)
        list.push_back({{"path", member.path},
                        {"offset", member.offset},
                        {"stored", member.stored_bytes},
                        {"bytes", member.bytes},
                        {"blake2b", member.blake2b}});
    const std::string manifest = nlohmann::ordered_json{{"members", std::move(list)}}.dump();
    const auto content = std::as_bytes(std::span(manifest));
    const auto stored = compress(content);
    const Trailer trailer{offset_, stored.size(), content.size(), blake2b(stored), kMagic};
    write(stored);
    write(bytes_of(trailer));
    file_.commit(target_);
}

}  // namespace hetune
