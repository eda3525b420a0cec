// A code object as a remote cache holds it:
//
//   152 bytes  magic, format version, BLAKE2b-256 of the rest, public key and Ed25519 signature
//   over
//              key and hash (both zero: unsigned), bytes of the content
//   rest       the object file (object_file.h), compressed with zstd
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "cache/key.h"
#include "cache/signing.h"

namespace hetune {

std::vector<std::byte> encode_remote_object(const CacheKey& key, std::span<const std::byte> file,
                                            const SigningKey* signing_key);

// The object file, its hash and (if `trust` asks for one) signature checked before anything is
// decompressed. Throws CacheError. Whether it is the object of `key` decode_object() says.
std::vector<std::byte> decode_remote_object(const CacheKey& key, std::span<const std::byte> value,
                                            const Trust& trust);

}  // namespace hetune
