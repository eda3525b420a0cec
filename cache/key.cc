#include "cache/key.h"

#include <fmt/format.h>
#ifdef HETUNE_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>  // the widest vectors of this processor, under the names of xxhash.h
#else
#include <xxhash.h>
#endif

#include <charconv>
#include <memory>

namespace hetune {
namespace {

struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// Each field goes in with its name and length, so that no two inputs share an encoding.
void add_field(XXH3_state_t* state, std::string_view name, std::string_view value) {
    const std::string head = fmt::format("{}:{}:", name, value.size());
    XXH3_128bits_update(state, head.data(), head.size());
    XXH3_128bits_update(state, value.data(), value.size());
}

}  // namespace

std::string CacheKey::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

std::optional<CacheKey> CacheKey::from_hex(std::string_view text) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    if (text.size() != 32 || text.find_first_not_of(kDigits) != text.npos) return std::nullopt;
    CacheKey key;
    std::from_chars(text.data(), text.data() + 16, key.high, 16);
    std::from_chars(text.data() + 16, text.data() + 32, key.low, 16);
    return key;
}

CacheKey make_key(const KeyInputs& inputs) {
    const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
    XXH3_128bits_reset(state.get());
    add_field(state.get(), "key-version", "1");
    add_field(state.get(), "source", inputs.source);
    add_field(state.get(), "options", inputs.options);
    add_field(state.get(), "arch", inputs.arch);
    add_field(state.get(), "compiler", inputs.compiler);
    const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
    return {hash.high64, hash.low64};
}

CacheKey content_hash(const void* data, size_t size) {
    const XXH128_hash_t hash = XXH3_128bits(data, size);
    return {hash.high64, hash.low64};
}

ContentHash::ContentHash() : state_(XXH3_createState(), XXH3_freeState) {
    XXH3_128bits_reset(state_.get());
}
void ContentHash::add(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
}
CacheKey ContentHash::value() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.high64, hash.low64};
}

}  // namespace hetune
