// The file of one code object. It describes itself, so that the index can be rebuilt from the
// files, and carries a hash over all of its bytes:
//
//   128 bytes  head: magic, format version, lengths, key, resources, compile time; little-endian
//   entry      the symbol to launch
//   parts      JSON: the named parts of the key
//   code       the bytes for the driver
//   16 bytes   xxh3-128 of all of the above
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cache/code_object.h"
#include "cache/key.h"

namespace hetune {

constexpr uint64_t kMaxObjectBytes = 1ull << 30;

std::vector<std::byte> encode_object(const CacheKey& key, const CodeObject& code,
                                     const KeyParts& parts);

// Empty when anything is wrong: length, version, key or hash.
std::optional<CodeObject> decode_object(std::span<const std::byte> file, const CacheKey& key);

// What the index keeps of a file, read from its head alone: the hash is not checked.
struct ObjectInfo {
    CacheKey key;
    std::string entry;
    double compile_ms = 0;
    KeyParts parts;
    uint64_t file_bytes = 0;
};
// `file` may end anywhere behind the parts.
std::optional<ObjectInfo> decode_object_info(std::span<const std::byte> file);

// Whether an object is what f35a233 kept in the place of a fact (cache/facts.h): a certificate, a
// refusal or a count of instructions, whose parts name the object that it is about. Nobody asks for
// such a key any more.
bool is_former_fact(const KeyParts& parts);

}  // namespace hetune
