#include "cache/signing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <system_error>

#include "cache/error.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr std::string_view kPublic = "hetune-public:";
constexpr std::string_view kSecret = "hetune-secret:";
constexpr int kKeyBase64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING;  // has no colon
constexpr size_t kMaxKeyFile = 1 << 20;

static_assert(sizeof(Signature) == crypto_sign_BYTES);
static_assert(sizeof(PublicKey) == crypto_sign_PUBLICKEYBYTES);

template <size_t N>
std::string encode(std::string_view prefix, const std::array<unsigned char, N>& bytes) {
    char text[sodium_base64_ENCODED_LEN(N, kKeyBase64)];
    return std::string(prefix) +
           sodium_bin2base64(text, sizeof(text), bytes.data(), bytes.size(), kKeyBase64);
}

// libsodium 1.0.18 takes some bytes above 127 for digits, so the text is compared with the one that
// the bytes give.
template <size_t N>
bool decode(std::string_view prefix, std::string_view whole, std::array<unsigned char, N>& bytes) {
    if (!whole.starts_with(prefix)) return false;
    const std::string_view text = whole.substr(prefix.size());
    size_t size = 0;
    const char* end = nullptr;
    return sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &size,
                             &end, kKeyBase64) == 0 &&
           size == N && end == text.data() + text.size() && encode(prefix, bytes) == whole;
}

std::string first_word(std::string_view text) {
    const size_t end = text.find_first_of(" \t\r\n");
    return std::string(text.substr(0, end));
}

const unsigned char* message_bytes(std::span<const std::byte> message) {
    return reinterpret_cast<const unsigned char*>(message.data());
}

void add_keys_of_file(const std::string& path, Trust& trust) {
    const auto bytes = read_file(path, kMaxKeyFile);
    if (!bytes)
        throw CacheError(
            fmt::format("HETUNE_TRUSTED_KEYS: {} cannot be read as a file of keys", path));
    std::istringstream file(
        std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()));
    const size_t before = trust.keys.size();
    for (std::string line; std::getline(file, line);)
        if (const std::string word = first_word(line); !word.empty() && word[0] != '#')
            trust.keys.push_back(PublicKey::parse(word));
    if (trust.keys.size() == before)
        throw CacheError(fmt::format("HETUNE_TRUSTED_KEYS: {} holds no key", path));
}

}  // namespace

std::string PublicKey::text() const { return encode(kPublic, bytes); }

PublicKey PublicKey::parse(std::string_view text) {
    PublicKey key;
    if (!decode(kPublic, text, key.bytes))
        throw CacheError(fmt::format(
            "'{}' is no public key; `hetune cache keygen` prints one, {}...", text, kPublic));
    return key;
}

bool PublicKey::verifies(std::span<const std::byte> message, const Signature& signature) const {
    return crypto_sign_verify_detached(signature.data(), message_bytes(message), message.size(),
                                       bytes.data()) == 0;
}

SigningKey SigningKey::generate() {
    if (sodium_init() < 0) throw CacheError("libsodium finds no source of random numbers");
    SigningKey key;
    PublicKey ignored;
    crypto_sign_keypair(ignored.bytes.data(), key.bytes_.data());
    return key;
}

SigningKey SigningKey::load(const std::filesystem::path& path) {
    const FileHandle file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info;
    if (!file || fstat(file.get(), &info) != 0)
        throw CacheError(fmt::format("key {}: {}", path.string(), std::strerror(errno)));
    if (!S_ISREG(info.st_mode))
        throw CacheError(fmt::format("key {}: is no regular file", path.string()));
    char text[256];
    const ssize_t size = std::max<ssize_t>(0, read(file.get(), text, sizeof(text)));
    const std::string_view content(text, static_cast<size_t>(size));
    SigningKey key;
    const bool good = decode(kSecret, first_word(content), key.bytes_);
    const bool is_public = content.starts_with(kPublic);
    sodium_memzero(text, sizeof(text));
    if (is_public)
        throw CacheError(fmt::format(
            "key {}: is a public key; signing takes the secret one, without .pub", path.string()));
    if (good && (info.st_mode & 077) != 0)
        throw CacheError(fmt::format("key {}: others can read it; chmod 600 it", path.string()));
    if (!good)
        throw CacheError(
            fmt::format("key {}: is no secret key of `hetune cache keygen`", path.string()));
    return key;
}

void SigningKey::save(const std::filesystem::path& path) const {
    const FileHandle file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) throw CacheError(fmt::format("key {}: {}", path.string(), std::strerror(errno)));
    const std::string text = encode(kSecret, bytes_) + "\n";
    try {
        write_all(file, std::as_bytes(std::span(text)), path);
        if (fsync(file.get()) != 0)
            throw std::system_error(errno, std::generic_category(), path.string());
    } catch (const std::system_error& error) {
        unlink(path.c_str());  // half a key would keep a second attempt from making a whole one
        throw CacheError(fmt::format("key {}", error.what()));
    }
}

PublicKey SigningKey::public_key() const {
    PublicKey key;
    crypto_sign_ed25519_sk_to_pk(key.bytes.data(), bytes_.data());
    return key;
}

Signature SigningKey::sign(std::span<const std::byte> message) const {
    Signature signature;
    crypto_sign_detached(signature.data(), nullptr, message_bytes(message), message.size(),
                         bytes_.data());
    return signature;
}

bool Trust::holds(const PublicKey& key) const { return std::ranges::count(keys, key) > 0; }

Trust parse_trust(std::string_view text) {
    Trust trust;
    while (!text.empty()) {
        // A key has a colon of its own.
        const size_t from = text.starts_with(kPublic) ? kPublic.size() : 0;
        const size_t end = std::min(text.find(':', from), text.size());
        const std::string word(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (word.empty()) continue;
        trust.required = true;
        if (word.starts_with(kPublic))
            trust.keys.push_back(PublicKey::parse(word));
        else
            add_keys_of_file(word, trust);
    }
    return trust;
}

}  // namespace hetune
