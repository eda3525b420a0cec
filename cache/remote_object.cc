#include "cache/remote_object.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "cache/blake2b.h"
#include "cache/compression.h"
#include "cache/error.h"
#include "cache/object_file.h"

namespace hetune {
namespace {

struct RemoteHead {
    std::array<char, 8> magic;
    uint64_t version;
    Blake2bHash hash;
    PublicKey key;
    Signature signature;
    uint64_t bytes;
};
static_assert(sizeof(RemoteHead) == 152);

constexpr std::array<char, 8> kRemoteMagic = {'H', 'T', 'R', 'E', 'M', 'O', 'T', 'E'};
constexpr uint64_t kRemoteVersion = 1;

// Key and hash: a good object stored under the key of another one is refused.
std::string message(const CacheKey& key, const RemoteHead& head) {
    return fmt::format("hetune object 1\n{} {} {}", key.hex(), hex(head.hash), head.bytes);
}

}  // namespace

std::vector<std::byte> encode_remote_object(const CacheKey& key, std::span<const std::byte> file,
                                            const SigningKey* signing_key) {
    const auto stored = compress(file);
    RemoteHead head{kRemoteMagic, kRemoteVersion, blake2b(stored), {}, {}, file.size()};
    if (signing_key != nullptr) {
        head.key = signing_key->public_key();
        const std::string text = message(key, head);
        head.signature = signing_key->sign(std::as_bytes(std::span(text)));
    }
    std::vector<std::byte> value(sizeof(head) + stored.size());
    std::memcpy(value.data(), &head, sizeof(head));
    std::memcpy(value.data() + sizeof(head), stored.data(), stored.size());
    return value;
}

std::vector<std::byte> decode_remote_object(const CacheKey& key, std::span<const std::byte> value,
                                            const Trust& trust) {
    const auto fail = [&](const char* what) {
        throw CacheError(fmt::format("the remote object {} {}", key.hex(), what));
    };
    RemoteHead head;
    if (value.size() < sizeof(head)) fail("is too short");
    std::memcpy(&head, value.data(), sizeof(head));
    if (head.magic != kRemoteMagic || head.version != kRemoteVersion) fail("has another format");
    const auto stored = value.subspan(sizeof(head));
    if (blake2b(stored) != head.hash) fail("is damaged");
    if (trust.required) {
        if (head.key == PublicKey{}) fail("is not signed");
        if (!trust.holds(head.key)) fail("is signed by a key that is not trusted");
        const std::string text = message(key, head);
        if (!head.key.verifies(std::as_bytes(std::span(text)), head.signature))
            fail("has a signature that is not its own");
    }
    if (head.bytes > kMaxObjectBytes || head.bytes / kMaxRatio > stored.size())
        fail("claims to be too large");
    auto file = decompress(stored, head.bytes);
    if (!file) fail("cannot be decompressed");
    return *std::move(file);
}

}  // namespace hetune
