// A bundle: code objects and tile packs in one file, to be shipped. Opened in place it serves as a
// read-only layer.
//
//   16 bytes   magic, format version
//   members    facts, objects and tuning results compressed with zstd, tile packs as they are, at
//   multiples of 4096 bytes manifest   JSON, compressed with zstd: path, offset, lengths and
//   BLAKE2b-256 of each member 64 bytes   trailer: place, lengths and BLAKE2b-256 of the manifest,
//   magic 104 bytes  if it is signed: public key, Ed25519 signature over the trailer, magic
//
// The same members give the same bytes. BLAKE2b is of the bytes as they are stored, and is checked
// before anything is decompressed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/code_object.h"
#include "cache/error.h"
#include "cache/key.h"
#include "cache/signing.h"
#include "cache/temp_file.h"

namespace hetune {

struct BundleMember {
    std::string path;  // as in a cache folder: objects/ab/KEY, tiles/MODEL/LAYOUT.tiles,
                       // tunings/KEY.json, facts/ab/KEY
    uint64_t offset = 0;
    uint64_t stored_bytes = 0;  // in the bundle
    uint64_t bytes = 0;         // of the content; equal for tile packs
    std::string blake2b;        // of the stored bytes, 64 hex digits

    bool is_object() const { return path.starts_with("objects/"); }
    bool is_tuning() const { return path.starts_with("tunings/"); }
    bool is_fact() const { return path.starts_with("facts/"); }
    bool is_compressed() const { return is_object() || is_tuning() || is_fact(); }
    bool operator==(const BundleMember&) const = default;
};

// Thread-safe. Nothing of the file is believed before it is checked: paths have one of the
// forms above, members lie inside the file, sizes are bounded before memory is taken.
class Bundle {
  public:
    // Reads signature, trailer and manifest. Throws CacheError, also where `trust` asks for a
    // signature that is not there; a wrong signature is an error in any case.
    explicit Bundle(const std::filesystem::path& path, const Trust& trust = {});

    // Whose signature it has.
    const std::optional<PublicKey>& signer() const { return signer_; }

    const std::vector<BundleMember>& members() const { return members_; }  // sorted by path
    // nullptr when there is none.
    const BundleMember* find(std::string_view path) const;

    // The content of an object or a tuning, checked. Throws CacheError.
    std::vector<std::byte> read(const BundleMember& member) const;
    // The content of any member, in pieces; the hash is checked behind the last one. Throws
    // CacheError and what `use` throws.
    void read(const BundleMember& member,
              const std::function<void(std::span<const std::byte>)>& use) const;

    // Empty when the bundle lacks the key; throws CacheError when its object is damaged.
    std::optional<CodeObject> find(const CacheKey& key) const;

  private:
    [[noreturn]] void fail(std::string_view what) const;
    void read_at(uint64_t offset, std::span<std::byte> to) const;
    uint64_t read_signature(uint64_t file_bytes, const Trust& trust);
    void read_manifest(uint64_t file_bytes, const Trust& trust);

    std::filesystem::path path_;
    FileHandle file_;
    std::optional<PublicKey> signer_;
    std::vector<BundleMember> members_;
    std::unordered_map<std::string_view, size_t> by_path_;
};

// Writes a bundle. Members must come sorted by path. Throws CacheError and std::system_error.
class BundleWriter {
  public:
    explicit BundleWriter(const std::filesystem::path& target);
    void add_object(const CacheKey& key, std::span<const std::byte> file);
    void add_tuning(std::string_view path, std::string_view text);
    void add_fact(std::string_view path, std::string_view text);
    void add_pack(std::string_view model, std::string_view layout, std::span<const std::byte> file);
    // Signed, where there is a key. Returns the bytes of the bundle.
    uint64_t commit(const SigningKey* key = nullptr);

  private:
    void write(std::span<const std::byte> bytes);
    void add(BundleMember member, std::span<const std::byte> stored);

    OutputFile file_;
    uint64_t offset_ = 0;
    std::vector<BundleMember> members_;
};

}  // namespace hetune
