// BLAKE2b-256: for what comes from elsewhere, where xxh3 would not resist an attacker.
#pragma once

#include <sodium.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace hetune {

using Blake2bHash = std::array<unsigned char, 32>;

// Of bytes that come in pieces.
class Blake2b {
  public:
    Blake2b() { crypto_generichash_init(&state_, nullptr, 0, sizeof(Blake2bHash)); }
    void add(std::span<const std::byte> bytes) {
        crypto_generichash_update(&state_, reinterpret_cast<const unsigned char*>(bytes.data()),
                                  bytes.size());
    }
    Blake2bHash finish() {
        Blake2bHash hash;
        crypto_generichash_final(&state_, hash.data(), hash.size());
        return hash;
    }

  private:
    crypto_generichash_state state_;
};

inline Blake2bHash blake2b(std::span<const std::byte> bytes) {
    Blake2b hash;
    hash.add(bytes);
    return hash.finish();
}

std::string hex(const Blake2bHash& hash);  // 64 lower-case digits

}  // namespace hetune
