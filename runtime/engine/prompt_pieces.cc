#include "runtime/engine/prompt_pieces.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace hetune {
namespace {

using Path = SequenceState::Path;

void add_number(Blake2b& hash, uint64_t number) { hash.add(std::as_bytes(std::span(&number, 1))); }

uint64_t first_word(const Blake2bHash& hash) {
    uint64_t word;
    std::memcpy(&word, hash.data(), sizeof(word));
    return word;
}

// Pieces of one kind behind the same tokens have it in common.
uint64_t high_of(const PromptPieces::Chain& before, bool is_state) {
    Blake2b hash;
    hash.add(std::as_bytes(std::span(before)));
    add_number(hash, is_state ? 1 : 0);
    return first_word(hash.finish());
}

}  // namespace

std::optional<PieceParts> parse_piece(std::span<const std::byte> bytes,
                                      std::span<const int32_t> tokens, size_t state_bytes,
                                      size_t page_bytes) {
    if (state_bytes > 0 && tokens.empty()) page_bytes = 0;
    const size_t count = tokens.size();
    if (bytes.size() != count * (sizeof(int32_t) + 1) + state_bytes + page_bytes)
        return std::nullopt;
    if (!std::ranges::equal(bytes.first(tokens.size_bytes()), std::as_bytes(tokens)))
        return std::nullopt;
    PieceParts parts;
    for (const std::byte path : bytes.subspan(tokens.size_bytes(), count)) {
        if (path > std::byte{static_cast<uint8_t>(Path::kEachHidden)}) return std::nullopt;
        parts.made.push_back(static_cast<Path>(path));
    }
    parts.state = bytes.subspan(tokens.size_bytes() + count, state_bytes);
    parts.page = bytes.last(page_bytes);
    return parts;
}

PromptPieces::Chain PromptPieces::chain(const Chain& before, std::span<const int32_t> tokens) {
    Blake2b hash;
    hash.add(std::as_bytes(std::span(before)));
    hash.add(std::as_bytes(tokens));
    return hash.finish();
}

PromptPieces::PromptPieces(PromptStore& store, std::string_view layout, size_t state_bytes,
                           size_t page_bytes)
    : store_(store), state_bytes_(state_bytes), page_bytes_(page_bytes) {
    const std::string all = fmt::format("prompt pieces {}, page {}, state {}\n{}", kPromptVersion,
                                        page_bytes, state_bytes, layout);
    start_ = blake2b(std::as_bytes(std::span(all)));
}

CacheKey PromptPieces::name(const Place& place) {
    Blake2b hash;
    hash.add(std::as_bytes(std::span(place.before)));
    add_number(hash, (place.is_state ? 1 : 0) + (place.exact ? 2 : 0));
    hash.add(std::as_bytes(place.tokens));
    return {high_of(place.before, place.is_state), first_word(hash.finish())};
}

bool PromptPieces::has_states(const Chain& before) const {
    return store_.has_any(high_of(before, true));
}

std::optional<PromptPieces::Found> PromptPieces::find(const Place& place, PromptStore::Time used) {
    const CacheKey key = name(place);
    auto file = store_.find(key);
    if (!file) return std::nullopt;
    auto parts =
        parse_piece(file->bytes(), place.tokens, place.is_state ? state_bytes_ : 0, page_bytes_);
    if (!parts) return std::nullopt;
    const bool exact =
        std::ranges::all_of(parts->made, [](Path path) { return path == Path::kPrompt; });
    if (place.exact && !exact) return std::nullopt;
    store_.use(key, used);
    return Found{*std::move(file), *std::move(parts)};
}

void PromptPieces::put(const Place& place, std::span<const Path> made,
                       std::span<const std::byte> state, std::span<const std::byte> page,
                       PromptStore::Time used) {
    std::vector<std::byte> piece;
    piece.reserve(place.tokens.size_bytes() + made.size() + state.size() + page.size());
    for (const auto part : {std::as_bytes(place.tokens), std::as_bytes(made), state, page})
        piece.insert(piece.end(), part.begin(), part.end());
    store_.put(name(place), piece, used);
}

std::string maker_of_prompts(const LoadedModel& model, const CacheKey& identity,
                             const KernelLibrary& library) {
    std::string text = fmt::format("model {}\n", identity.hex());
    // A recurrent state depends on where steps of prompts end.
    for (const PlanBuffer& buffer : model.plans().buffers())
        if (buffer.role == BufferRole::kState)
            text += fmt::format("{}: {}, steps of {}\n", buffer.name,
                                model.options().prefixes == Prefixes::kExact ? "exact" : "all",
                                model.options().prefill_rows);
    std::set<std::string> kernels;
    const ModelPlans& plans = model.plans();
    for (const StepKind& kind : {kDecodeStep, prefill_step(model.options(), model.device().arch())})
        for (const KernelSpec& spec : plans.of(kind).kernels)
            kernels.insert(library.key(spec).hex());
    for (const std::string& kernel : kernels) text += fmt::format("kernel {}\n", kernel);
    return text;
}

}  // namespace hetune
