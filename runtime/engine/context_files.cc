// ContextMemory reads pieces of prefixes from files, and writes them (prompt_pieces.h).
#include <fmt/format.h>

#include <algorithm>

#include "planner/plan/device_sizes.h"
#include "runtime/engine/context_memory.h"

namespace hetune {
namespace {

using Path = SequenceState::Path;
using Chain = PromptPieces::Chain;
using Place = PromptPieces::Place;

// Pages that are read between two steps of running sequences. An SSD reads so much in about 10 ms.
constexpr size_t kReadBytes = 16 << 20;

std::span<const int32_t> block_of(std::span<const int32_t> tokens, size_t page) {
    constexpr auto kTokens = static_cast<size_t>(kPageTokens);
    return tokens.subspan(page * kTokens, kTokens);
}

}  // namespace

// The path of a sequence while its pages come together: those of the tree first, which stay as long
// as this lives.
struct ContextMemory::FoundPages {
    FoundPages(ContextMemory& memory, std::span<const int32_t> tokens, bool exact)
        : memory(memory), tokens(tokens) {
        const PrefixTree::Prefix there = memory.tree_.match(tokens, exact);
        pages = there.pages;
        for (const int page : pages) memory.pages_.share(page);
        for (const auto& stretch : there.stretches)
            made.resize(static_cast<size_t>(stretch.end), stretch.path);
        made.resize(pages.size() * static_cast<size_t>(kPageTokens));
        chains.push_back(memory.files_->start());
        while (chains.size() <= tokens.size() / static_cast<size_t>(kPageTokens))
            chains.push_back(
                PromptPieces::chain(chains.back(), block_of(tokens, chains.size() - 1)));
    }
    ~FoundPages() {
        for (const int page : pages) memory.pages_.give_back(page);
    }
    FoundPages(const FoundPages&) = delete;

    // The page behind those that are here, from a file. `exact`: only that which prompt kernels
    // made. False where there is none, or no room.
    bool read_next(bool exact, PromptStore::Time now) {
        const size_t page = pages.size();
        const auto found =
            memory.find_piece(*this, page, block_of(tokens, page), false, exact, now);
        return found && add(found->parts);
    }
    bool add(const PieceParts& parts) {
        if (memory.pages_.free() == 0) memory.tree_.evict(1);
        const int page = memory.pages_.take();
        if (page < 0) return false;
        memory.upload_page(page, parts.page);
        pages.push_back(page);
        made.insert(made.end(), parts.made.begin(), parts.made.end());
        return true;
    }
    void cut(size_t count) {
        for (; pages.size() > count; pages.pop_back()) memory.pages_.give_back(pages.back());
        made.resize(count * static_cast<size_t>(kPageTokens));
    }
    void insert() {
        memory.tree_.insert(tokens.first(made.size()), SequenceState::stretches_of(made), pages);
    }

    ContextMemory& memory;
    const std::span<const int32_t> tokens;
    std::vector<int> pages;
    std::vector<Path> made;     // of the tokens of `pages`
    std::vector<Chain> chains;  // of so many pages of `tokens`
};

void ContextMemory::use_files(PromptStore& store, const std::string& maker) {
    std::string layout = maker;
    for (const auto& [name, buffer] : buffers_) layout += name + "\n";
    for (const Kv& kv : kv_) layout += fmt::format("page {}\n", kv.page_bytes);
    files_.emplace(store, layout, state_bytes_, page_bytes());
}

size_t ContextMemory::page_bytes() const {
    size_t bytes = 0;
    for (const Kv& kv : kv_) bytes += kv.page_bytes;
    return bytes;
}

void ContextMemory::upload_page(int page, std::span<const std::byte> bytes) {
    for (const Kv& kv : kv_) {
        device_.upload(*kv.buffer, static_cast<size_t>(page) * kv.page_bytes,
                       bytes.first(kv.page_bytes));
        bytes = bytes.subspan(kv.page_bytes);
    }
}

std::vector<std::byte> ContextMemory::download_page(int page) const {
    std::vector<std::byte> bytes(page_bytes());
    auto to = std::span(bytes);
    for (const Kv& kv : kv_) {
        device_.download(to.first(kv.page_bytes), *kv.buffer,
                         static_cast<size_t>(page) * kv.page_bytes);
        to = to.subspan(kv.page_bytes);
    }
    return bytes;
}

bool ContextMemory::read_prefix(std::span<const int32_t> tokens, bool exact) {
    if (!files_ || std::ssize(tokens) < kPageTokens) return false;
    if (has_state() && checkpoints_.empty()) return false;
    FoundPages found(*this, tokens, exact);
    std::optional<StatePlace> state;
    if (has_state() && !(state = find_state(found, exact))) return false;
    const size_t before = found.pages.size();
    const size_t wanted = state ? state->pages : found.chains.size() - 1;
    const size_t most = std::min(wanted, before + std::max<size_t>(kReadBytes / page_bytes(), 1));
    const PromptStore::Time now = std::chrono::system_clock::now();
    while (found.pages.size() < most && found.read_next(exact, now)) {
    }
    if (found.pages.size() > before) {
        found.insert();
        return true;
    }
    return state && before >= wanted && read_state(found, *state, exact, now);
}

bool ContextMemory::has_piece(const FoundPages& found, size_t pages,
                              std::span<const int32_t> tokens, bool is_state, bool exact) const {
    return files_->has({found.chains[pages], tokens, is_state, true}) ||
           (!exact && files_->has({found.chains[pages], tokens, is_state, false}));
}

std::optional<PromptPieces::Found> ContextMemory::find_piece(const FoundPages& found, size_t pages,
                                                             std::span<const int32_t> tokens,
                                                             bool is_state, bool exact,
                                                             PromptStore::Time now) {
    const auto used = PromptPieces::at_depth(now, static_cast<int64_t>(pages) + is_state);
    for (const bool as_exact : {true, false}) {
        if (exact && !as_exact) continue;
        if (auto piece = files_->find({found.chains[pages], tokens, is_state, as_exact}, used))
            return piece;
    }
    return std::nullopt;
}

// How many pages are in the tree or in files.
size_t ContextMemory::reach_of(const FoundPages& found, bool exact) const {
    size_t pages = found.pages.size();
    while (pages + 1 < found.chains.size() &&
           has_piece(found, pages, block_of(found.tokens, pages), false, exact))
        ++pages;
    return pages;
}

int64_t ContextMemory::kept(std::span<const int32_t> tokens, bool exact) {
    if (tokens.empty()) return 0;
    const int64_t here = tree_.match(tokens, exact).tokens;
    if (!files_) return here;
    const FoundPages found(*this, tokens, exact);
    return std::max(here, static_cast<int64_t>(reach_of(found, exact)) * kPageTokens);
}

// The deepest one beyond the checkpoints of the tree, whose pages are in the tree or in files.
std::optional<ContextMemory::StatePlace> ContextMemory::find_state(const FoundPages& found,
                                                                   bool exact) {
    const int64_t deepest = tree_.match_checkpoint(found.tokens, exact).tokens;
    const size_t reached = reach_of(found, exact);
    for (size_t pages = reached; pages > 0; --pages) {
        const auto behind = found.tokens.subspan(pages * static_cast<size_t>(kPageTokens));
        const int64_t start = std::ssize(found.tokens) - std::ssize(behind);
        if (start + kPageTokens <= deepest) break;
        if (!files_->has_states(found.chains[pages])) continue;
        for (int64_t rest = std::min(std::ssize(behind), kPageTokens - 1); rest >= 0; --rest) {
            if (start + rest <= deepest) break;
            const auto tokens = behind.first(static_cast<size_t>(rest));
            if (has_piece(found, pages, tokens, true, exact)) return StatePlace{pages, tokens};
        }
    }
    return std::nullopt;
}

bool ContextMemory::read_state(FoundPages& found, const StatePlace& place, bool exact,
                               PromptStore::Time now) {
    const auto piece = find_piece(found, place.pages, place.tokens, true, exact, now);
    if (!piece) return false;
    found.cut(place.pages);
    if (!place.tokens.empty() && !found.add(piece->parts)) return false;
    found.insert();
    if (free_checkpoints_.empty()) tree_.evict_checkpoint();
    const int free = free_checkpoints_.back();
    if (!tree_.keep(found.tokens.first(found.made.size()), SequenceState::stretches_of(found.made),
                    free))
        return false;
    free_checkpoints_.pop_back();
    device_.upload(*checkpoints_[static_cast<size_t>(free)], 0, piece->parts.state);
    return true;
}

bool ContextMemory::write_piece() {
    if (!files_ || !files_->store().writable()) return false;
    const auto next = tree_.next_to_store(has_state());
    if (!next) return false;
    PrefixNode& node = *next->node;
    const auto chain_of = [&](const PrefixNode& of) {
        return of.parent == nullptr ? files_->start() : of.chain;
    };
    // The last full page before the piece, or the root.
    PrefixNode* above = node.parent;
    if (next->checkpoint == nullptr) {
        node.chain = PromptPieces::chain(chain_of(*above), node.tokens);
        const Place place{chain_of(*above), node.tokens, false, node.exact >= node.end()};
        if (!files_->has(place))
            files_->put(place, node.made, {}, download_page(node.page),
                        PromptPieces::at_depth(kept_at_, node.start / kPageTokens));
        node.stored = true;
    } else {
        const int64_t position = next->checkpoint->position;
        const auto rest = static_cast<size_t>(position % kPageTokens);
        if (rest == 0) above = &node;
        const Place place{chain_of(*above), std::span<const int32_t>(node.tokens).first(rest), true,
                          node.exact >= position};
        if (!files_->has(place)) {
            std::vector<std::byte> state(state_bytes_);
            device_.download(state, *checkpoints_[static_cast<size_t>(next->checkpoint->id)], 0);
            const auto page = rest == 0 ? std::vector<std::byte>() : download_page(node.page);
            files_->put(place, std::span(node.made).first(rest), state, page,
                        PromptPieces::at_depth(kept_at_, position / kPageTokens + 1));
        }
        next->checkpoint->stored = true;
    }
    for (; above->parent != nullptr; above = above->parent) {
        const Place place{chain_of(*above->parent), above->tokens, false,
                          above->exact >= above->end()};
        if (!files_->store().use(PromptPieces::name(place),
                                 PromptPieces::at_depth(kept_at_, above->start / kPageTokens)))
            break;
    }
    return true;
}

}  // namespace hetune
