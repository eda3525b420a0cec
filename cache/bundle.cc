#include "cache/bundle.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <system_error>

#include "cache/blake2b.h"
#include "cache/compression.h"
#include "cache/facts.h"
#include "cache/index.h"
#include "cache/json_text.h"
#include "cache/object_file.h"
#include "cache/tile_file.h"

namespace hetune {
namespace {

constexpr std::array<char, 8> kBundleMagic = {'H', 'T', 'B', 'U', 'N', 'D', 'L', 'E'};
constexpr std::array<char, 8> kSignedMagic = {'H', 'T', 'S', 'I', 'G', 'N', 'E', 'D'};
constexpr std::string_view kSignedContext = "hetune bundle 1\n";
constexpr uint64_t kBundleVersion = 2;  // 1 had no facts
constexpr uint64_t kMaxManifestBytes = 256 << 20;
constexpr size_t kPieceBytes = 4 << 20;

struct BundleHead {
    std::array<char, 8> magic;
    uint64_t version;
};

struct Trailer {
    uint64_t offset;
    uint64_t stored_bytes;
    uint64_t bytes;
    Blake2bHash hash;
    std::array<char, 8> magic;
};

// Behind the trailer, where there is a signature.
struct Signed {
    PublicKey key;
    Signature signature;
    std::array<char, 8> magic;
};
static_assert(sizeof(BundleHead) == 16 && sizeof(Trailer) == 64 && sizeof(Signed) == 104);

// facts/ab/KEY, objects/ab/KEY, tiles/MODEL/LAYOUT.tiles or tunings/KEY.json: no other path exists,
// so none leaves the folder.
bool is_member_path(std::string_view path) {
    if (path.starts_with("facts/")) return is_fact_name(path);
    if (path.starts_with("tunings/"))
        return path.size() == 45 && path.ends_with(".json") &&
               CacheKey::from_hex(path.substr(8, 32));
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

// What is signed: the trailer holds the hash of the manifest, and that the hash of each member.
std::string signed_message(const Trailer& trailer) {
    std::string message(kSignedContext);
    message.append(reinterpret_cast<const char*>(&trailer), sizeof(trailer));
    return message;
}

}  // namespace

Bundle::Bundle(const std::filesystem::path& path, const Trust& trust)
    : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat info;
    if (!file_ || fstat(file_.get(), &info) != 0) fail(std::strerror(errno));
    if (!S_ISREG(info.st_mode)) fail("is no file");
    try {
        read_manifest(static_cast<uint64_t>(info.st_size), trust);
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

// Reads the signature at the end; gives the bytes before it.
uint64_t Bundle::read_signature(uint64_t file_bytes, const Trust& trust) {
    Signed end{};
    const uint64_t least = sizeof(BundleHead) + sizeof(Trailer) + sizeof(end);
    if (file_bytes >= least)
        read_at(file_bytes - sizeof(end), std::as_writable_bytes(std::span(&end, 1)));
    if (end.magic != kSignedMagic) {
        if (trust.required) fail("is not signed, and HETUNE_TRUSTED_KEYS asks for a signature");
        return file_bytes;
    }
    file_bytes -= sizeof(end);
    Trailer trailer{};
    read_at(file_bytes - sizeof(trailer), std::as_writable_bytes(std::span(&trailer, 1)));
    const std::string message = signed_message(trailer);
    if (!end.key.verifies(std::as_bytes(std::span(message)), end.signature))
        fail("has a signature that is not over its content");
    if (trust.required && !trust.holds(end.key))
        fail(
            fmt::format("is signed by {}, which is not among HETUNE_TRUSTED_KEYS", end.key.text()));
    signer_ = end.key;
    return file_bytes;
}

void Bundle::read_manifest(uint64_t file_bytes, const Trust& trust) {
    file_bytes = read_signature(file_bytes, trust);
    BundleHead head{};
    Trailer trailer{};
    if (file_bytes < sizeof(head) + sizeof(trailer)) fail("is too short");
    read_at(0, std::as_writable_bytes(std::span(&head, 1)));
    if (head.magic != kBundleMagic || head.version < 1) fail("is no bundle");
    if (head.version > kBundleVersion)
        fail(fmt::format("has format {}, this hetune reads formats 1 to {}; a newer one made it",
                         head.version, kBundleVersion));
    const uint64_t end = file_bytes - sizeof(trailer);
    read_at(end, std::as_writable_bytes(std::span(&trailer, 1)));
    if (trailer.magic != kBundleMagic) fail("is cut off");
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
    const auto json = parse_json({text, manifest->size()});
    for (const auto& item : json.at("members")) {
        BundleMember member{
            json_value<std::string>(item, "path"), json_value<uint64_t>(item, "offset"),
            json_value<uint64_t>(item, "stored"), json_value<uint64_t>(item, "bytes"),
            json_value<std::string>(item, "blake2b")};
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

BundleWriter::BundleWriter(const std::filesystem::path& target) : file_(target) {
    write(bytes_of(BundleHead{kBundleMagic, kBundleVersion}));
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
    add({.path = std::string(path), .bytes = text.size()},
        compress(std::as_bytes(std::span(text))));
}

void BundleWriter::add_fact(std::string_view path, std::string_view text) {
    add({.path = std::string(path), .bytes = text.size()},
        compress(std::as_bytes(std::span(text))));
}

void BundleWriter::add_pack(std::string_view model, std::string_view layout,
                            std::span<const std::byte> file) {
    const std::vector<std::byte> padding((kTileAlignment - offset_ % kTileAlignment) %
                                         kTileAlignment);
    write(padding);
    add({.path = fmt::format("tiles/{}/{}.tiles", model, layout), .bytes = file.size()}, file);
}

uint64_t BundleWriter::commit(const SigningKey* key) {
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
    const Trailer trailer{offset_, stored.size(), content.size(), blake2b(stored), kBundleMagic};
    write(stored);
    write(bytes_of(trailer));
    if (key != nullptr) {
        const std::string message = signed_message(trailer);
        write(bytes_of(
            Signed{key->public_key(), key->sign(std::as_bytes(std::span(message))), kSignedMagic}));
    }
    file_.commit();
    return offset_;
}

}  // namespace hetune
