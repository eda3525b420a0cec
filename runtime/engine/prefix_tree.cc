#include "runtime/engine/prefix_tree.h"

#include <algorithm>
#include <cassert>
#include <tuple>
#include <utility>

namespace hetune {
namespace {

// Tokens, divided into the blocks of pages.
class Blocks {
  public:
    Blocks(std::span<const int32_t> tokens, std::span<const SequenceState::Stretch> stretches,
           size_t page_tokens)
        : tokens_(tokens), page_tokens_(page_tokens) {
        for (const auto& stretch : stretches)
            made_.resize(std::min(tokens.size(), static_cast<size_t>(stretch.end)), stretch.path);
        assert(made_.size() == tokens.size());
    }
    size_t count() const { return (tokens_.size() + page_tokens_ - 1) / page_tokens_; }
    PrefixBlock operator[](size_t i) const {
        const size_t start = i * page_tokens_;
        const size_t size = std::min(page_tokens_, tokens_.size() - start);
        return {tokens_.subspan(start, size), std::span(made_).subspan(start, size)};
    }

  private:
    std::span<const int32_t> tokens_;
    std::vector<SequenceState::Path> made_;
    size_t page_tokens_;
};

// The merits of a prefix, the greatest first: its length, how many of its first tokens were
// made by prompt kernels, its last use.
using Rank = std::tuple<int64_t, int64_t, uint64_t>;

}  // namespace

PrefixTree::PrefixTree(PagePool& pool, int page_tokens,
                       std::function<void(int)> give_back_checkpoint, PrefixNodes::Hash hash)
    : pool_(pool),
      page_tokens_(static_cast<size_t>(page_tokens)),
      give_back_checkpoint_(std::move(give_back_checkpoint)),
      nodes_(page_tokens_, hash) {}

void PrefixTree::insert(std::span<const int32_t> tokens, std::span<const Stretch> stretches,
                        std::span<const int> pages) {
    const Blocks blocks(tokens, stretches, page_tokens_);
    assert(pages.size() == blocks.count());
    PrefixNode* node = &nodes_.root();
    for (size_t i = 0; i < blocks.count(); ++i) {
        PrefixNode* child = nodes_.find(*node, blocks[i]);
        if (child == nullptr) {
            child = nodes_.partial_leaf(*node, blocks[i]);
            if (child == nullptr) child = &nodes_.add(*node);
            nodes_.fill(*child, blocks[i]);
            pool_.share(pages[i]);  // first: a partial leaf may be on the same page
            const int before = std::exchange(child->page, pages[i]);
            if (before >= 0) pool_.give_back(before);
        }
        node = child;
    }
    nodes_.use(node);
    all_stored_ = false;
}

PrefixTree::Prefix PrefixTree::match(std::span<const int32_t> tokens, bool exact) {
    const std::vector<PrefixNode*> reached = nodes_.reach(tokens, exact);
    PrefixNode* best = nullptr;
    Rank best_rank;
    const auto consider = [&](PrefixNode* node, int64_t count) {
        const Rank rank{count, std::min(node->exact, count), node->last_use};
        if (best != nullptr && rank <= best_rank) return;
        best = node;
        best_rank = rank;
    };
    const int64_t depth = reached.back()->end();
    const auto rest = tokens.subspan(static_cast<size_t>(depth));
    for (auto at = reached.rbegin(); at != reached.rend() && (*at)->end() == depth; ++at) {
        consider(*at, depth);
        for (PrefixNode* child : (*at)->children)
            if (const int64_t count = child->common(rest, exact)) consider(child, depth + count);
    }
    nodes_.use(best);
    return prefix(best, std::get<0>(best_rank));
}

PrefixTree::Prefix PrefixTree::match_checkpoint(std::span<const int32_t> tokens, bool exact) {
    const std::vector<PrefixNode*> reached = nodes_.reach(tokens, exact);
    auto best = checkpoints_.end();
    Rank best_rank;
    int64_t depth = 0;
    for (auto at = reached.rbegin(); at != reached.rend(); ++at) {
        const bool higher = (*at)->end() < depth;
        if (higher && best != checkpoints_.end()) break;
        depth = (*at)->end();
        const auto rest = tokens.subspan(static_cast<size_t>(depth));
        for (const PrefixNode* child : (*at)->children) {
            const int64_t count = depth + child->common(rest, exact);
            for (const auto checkpoint : child->checkpoints) {
                const int64_t position = checkpoint->position;
                if (position > count) continue;
                const Rank rank{position, std::min(child->exact, position), child->last_use};
                if (best != checkpoints_.end() && rank <= best_rank) continue;
                best = checkpoint;
                best_rank = rank;
            }
        }
    }
    if (best == checkpoints_.end()) return {};
    nodes_.use(best->node);
    checkpoints_.splice(checkpoints_.end(), checkpoints_, best);
    Prefix found = prefix(best->node, best->position);
    found.checkpoint = best->id;
    return found;
}

bool PrefixTree::keep(std::span<const int32_t> tokens, std::span<const Stretch> stretches,
                      int checkpoint) {
    const Blocks blocks(tokens, stretches, page_tokens_);
    PrefixNode* node = tokens.empty() ? nullptr : &nodes_.root();
    for (size_t i = 0; i < blocks.count() && node != nullptr; ++i)
        node = nodes_.find(*node, blocks[i]);
    if (node == nullptr) return false;
    const auto position = static_cast<int64_t>(tokens.size());
    for (const auto& other : node->checkpoints)
        if (other->position == position) return false;
    nodes_.use(node);
    node->checkpoints.push_back(
        checkpoints_.insert(checkpoints_.end(), {node, position, checkpoint}));
    all_stored_ = false;
    return true;
}

// The first `tokens` tokens of the path to `node`: more than the nodes above it hold.
PrefixTree::Prefix PrefixTree::prefix(const PrefixNode* node, int64_t tokens) const {
    std::vector<const PrefixNode*> path;
    for (; node->parent != nullptr; node = node->parent) path.push_back(node);
    Prefix prefix;
    prefix.tokens = tokens;
    for (auto at = path.rbegin(); at != path.rend(); ++at) {
        const auto count = static_cast<size_t>(std::min(tokens, (*at)->end()) - (*at)->start);
        if (count == page_tokens_) {
            prefix.pages.push_back((*at)->page);
        } else {
            prefix.copied_page = (*at)->page;
            prefix.copied_tokens = static_cast<int>(count);
        }
        for (size_t i = 0; i < count; ++i) {
            auto& stretches = prefix.stretches;
            if (stretches.empty() || stretches.back().path != (*at)->made[i])
                stretches.push_back({0, (*at)->made[i]});
            stretches.back().end = (*at)->start + static_cast<int64_t>(i) + 1;
        }
    }
    return prefix;
}

bool PrefixTree::evict(int free_pages) {
    for (const bool only_leaves : {true, false}) {
        auto& nodes = nodes_.in_order_of_use();
        for (auto at = nodes.begin(); at != nodes.end() && pool_.free() < free_pages;) {
            PrefixNode& node = *at++;  // the nodes below it stand before it
            if (pool_.users(node.page) == 1 && (node.children.empty() || !only_leaves))
                give_up_all_from(node);
        }
    }
    return pool_.free() >= free_pages;
}

bool PrefixTree::evict_checkpoint() {
    if (checkpoints_.empty()) return false;
    const auto oldest = checkpoints_.begin();
    const int id = oldest->id;
    std::erase(oldest->node->checkpoints, oldest);
    checkpoints_.erase(oldest);
    give_back_checkpoint_(id);
    return true;
}

std::optional<PrefixTree::Unstored> PrefixTree::next_to_store(bool for_state) {
    if (all_stored_) return std::nullopt;
    if (!for_state) {
        // From the back a node stands behind the nodes above it.
        auto& nodes = nodes_.in_order_of_use();
        for (auto node = nodes.rbegin(); node != nodes.rend(); ++node)
            if (!node->stored && node->tokens.size() == page_tokens_)
                return Unstored{&*node, nullptr};
    }
    for (auto at = checkpoints_.rbegin(); for_state && at != checkpoints_.rend(); ++at) {
        const auto full = at->position / static_cast<int64_t>(page_tokens_);
        if (at->stored || full == 0) continue;
        PrefixNode* highest = nullptr;
        for (PrefixNode* node = at->node; node->parent != nullptr; node = node->parent)
            if (!node->stored && node->end() <= at->position && node->tokens.size() == page_tokens_)
                highest = node;
        if (highest != nullptr) return Unstored{highest, nullptr};
        return Unstored{at->node, &*at};
    }
    all_stored_ = true;
    return std::nullopt;
}

void PrefixTree::forget(int page) {
    auto& nodes = nodes_.in_order_of_use();
    for (auto at = nodes.begin(); at != nodes.end();) {
        PrefixNode& node = *at++;  // the nodes below it stand before it
        if (node.page == page) give_up_all_from(node);
    }
}

void PrefixTree::clear() {
    auto& nodes = nodes_.in_order_of_use();
    while (!nodes.empty()) give_up(nodes.front());
}

PrefixTree::Counts PrefixTree::counts() const {
    return {nodes_.count(), static_cast<int>(checkpoints_.size()), nodes_.tokens()};
}

void PrefixTree::give_up(PrefixNode& leaf) {
    for (const auto checkpoint : leaf.checkpoints) {
        const int id = checkpoint->id;
        checkpoints_.erase(checkpoint);
        give_back_checkpoint_(id);
    }
    pool_.give_back(leaf.page);
    nodes_.remove(leaf);
}

// Without recursion: a path is as deep as a context has pages.
void PrefixTree::give_up_all_from(PrefixNode& node) {
    for (PrefixNode* at = &node;;) {
        while (!at->children.empty()) at = at->children.back();
        PrefixNode* above = at->parent;
        const bool last = at == &node;
        give_up(*at);
        if (last) return;
        at = above;
    }
}

}  // namespace hetune
