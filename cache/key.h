// The identity of a code object: a hash over everything that can change its bytes, and nothing
// else.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

struct XXH3_state_s;  // xxhash.h

namespace hetune {

// xxh3-128. Finds damage and names files; it does not resist an attacker.
struct CacheKey {
    uint64_t high = 0;
    uint64_t low = 0;

    auto operator<=>(const CacheKey&) const = default;
    std::string hex() const;                                         // 32 lower-case digits
    static std::optional<CacheKey> from_hex(std::string_view text);  // exactly such digits
};

// A field too few gives a wrong kernel; a field too many only gives a miss.
struct KeyInputs {
    std::string_view source;    // full text: constants, template and every header it includes
    std::string_view options;   // in the order the compiler gets them
    std::string_view arch;      // "gfx1100"
    std::string_view compiler;  // Compiler::identity()
};

// The inputs of a key as names and short printable values ("template": "gemv", "arch": "gfx1100",
// "kRows": "4096", "source": a hash, ...), kept beside the object so that a miss can be explained.
// "template" names the kernel.
using KeyParts = std::map<std::string, std::string>;

CacheKey make_key(const KeyInputs& inputs);

// xxh3-128 of any bytes, for content checks.
CacheKey content_hash(const void* data, size_t size);

// The same of bytes that come one after the other.
class ContentHash {
  public:
    ContentHash();
    void add(std::span<const std::byte> bytes);
    CacheKey value() const;  // of all that was added

  private:
    std::shared_ptr<XXH3_state_s> state_;
};

}  // namespace hetune
