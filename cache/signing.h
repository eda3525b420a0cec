// Ed25519 keys, and whom this process trusts. A code object is code: what comes from a bundle or a
// remote cache may be asked to carry the signature of a key that we know.
#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

using Signature = std::array<unsigned char, 64>;

struct PublicKey {
    std::array<unsigned char, 32> bytes{};

    bool operator==(const PublicKey&) const = default;
    std::string text() const;  // "hetune-public:" and 43 characters
    // Throws CacheError.
    static PublicKey parse(std::string_view text);
    // Whether `signature` is that of this key over `message`.
    bool verifies(std::span<const std::byte> message, const Signature& signature) const;
};

class SigningKey {
  public:
    static SigningKey generate();
    // Both throw CacheError. `save` makes a new file that only its owner can read; `load` refuses
    // one that others can.
    static SigningKey load(const std::filesystem::path& path);
    void save(const std::filesystem::path& path) const;

    PublicKey public_key() const;
    // The same message gives the same signature.
    Signature sign(std::span<const std::byte> message) const;

  private:
    SigningKey() = default;
    std::array<unsigned char, 64> bytes_{};
};

// Whose signatures count.
struct Trust {
    bool required = false;  // nothing unsigned is used; with no keys, nothing at all
    std::vector<PublicKey> keys;

    bool holds(const PublicKey& key) const;
};

// From HETUNE_TRUSTED_KEYS: public keys, or files with one on each line, separated by colons.
// Throws CacheError: a key that cannot be read must not mean that all are trusted.
Trust parse_trust(std::string_view text);

}  // namespace hetune
