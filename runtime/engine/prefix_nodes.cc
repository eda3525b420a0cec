#include "runtime/engine/prefix_nodes.h"

#include <algorithm>
#include <cassert>

#include "cache/key.h"

namespace hetune {

int64_t PrefixNode::common(std::span<const int32_t> others, bool only_exact) const {
    const int64_t same = std::ranges::mismatch(tokens, others).in1 - tokens.begin();
    return only_exact ? std::min(same, std::max<int64_t>(exact - start, 0)) : same;
}

int64_t PrefixNode::common(const PrefixBlock& block) const {
    return std::min(common(block.tokens, false),
                    std::ranges::mismatch(made, block.made).in1 - made.begin());
}

uint64_t PrefixNodes::xxh3(uint64_t before, std::span<const int32_t> block) {
    // Multiplied, so that the order of blocks counts; by 2^64 over the golden ratio, as Knuth does.
    return content_hash(block.data(), block.size_bytes()).low ^ (before * 0x9E3779B97F4A7C15);
}

PrefixNode* PrefixNodes::find(const PrefixNode& parent, const PrefixBlock& block) const {
    const auto size = static_cast<int64_t>(block.tokens.size());
    if (block.tokens.size() == page_tokens_) {
        const auto [first, last] = full_.equal_range(hash_(parent.hash, block.tokens));
        for (auto at = first; at != last; ++at)
            if (at->second->parent == &parent && at->second->common(block) == size)
                return at->second;
        return nullptr;
    }
    PrefixNode* best = nullptr;
    for (PrefixNode* child : parent.children)
        if (child->common(block) == size && (best == nullptr || child->last_use > best->last_use))
            best = child;
    return best;
}

PrefixNode* PrefixNodes::partial_leaf(const PrefixNode& parent, const PrefixBlock& block) const {
    for (PrefixNode* child : parent.children)
        if (child->common(block) == child->size()) return child;
    return nullptr;
}

std::vector<PrefixNode*> PrefixNodes::reach(std::span<const int32_t> tokens, bool only_exact) {
    std::vector<PrefixNode*> reached{&root_};
    size_t depth = 0;  // where the nodes of the deepest depth so far begin in `reached`
    for (; tokens.size() >= page_tokens_; tokens = tokens.subspan(page_tokens_)) {
        const size_t next_depth = reached.size();
        const auto [first, last] =
            full_.equal_range(hash_(reached[depth]->hash, tokens.first(page_tokens_)));
        for (auto at = first; at != last; ++at) {
            PrefixNode* node = at->second;
            const auto above = std::span(reached).subspan(depth, next_depth - depth);
            if (std::ranges::find(above, node->parent) != above.end() &&
                node->common(tokens, only_exact) == node->size())
                reached.push_back(node);
        }
        if (reached.size() == next_depth) break;
        depth = next_depth;
    }
    return reached;
}

PrefixNode& PrefixNodes::add(PrefixNode& parent) {
    PrefixNode& node = nodes_.emplace_back();
    node.self = std::prev(nodes_.end());
    node.parent = &parent;
    node.start = parent.end();
    node.place = parent.children.size();
    parent.children.push_back(&node);
    return node;
}

void PrefixNodes::fill(PrefixNode& node, const PrefixBlock& block) {
    tokens_ += static_cast<int64_t>(block.tokens.size() - node.tokens.size());
    node.tokens.assign(block.tokens.begin(), block.tokens.end());
    node.made.assign(block.made.begin(), block.made.end());
    const auto by_prompt = [](auto path) { return path == SequenceState::Path::kPrompt; };
    node.exact = node.parent->exact;
    if (node.exact == node.start)
        node.exact += std::ranges::find_if_not(node.made, by_prompt) - node.made.begin();
    if (node.tokens.size() == page_tokens_) {
        node.hash = hash_(node.parent->hash, node.tokens);
        full_.emplace(node.hash, &node);
    }
}

void PrefixNodes::use(PrefixNode* node) {
    ++uses_;
    for (; node != &root_; node = node->parent) {
        node->last_use = uses_;
        nodes_.splice(nodes_.end(), nodes_, node->self);
    }
}

void PrefixNodes::remove(PrefixNode& leaf) {
    assert(leaf.children.empty());
    const auto [first, last] = full_.equal_range(leaf.hash);
    const auto found =
        std::find_if(first, last, [&](const auto& entry) { return entry.second == &leaf; });
    if (found != last) full_.erase(found);
    std::vector<PrefixNode*>& siblings = leaf.parent->children;
    siblings.back()->place = leaf.place;
    siblings[leaf.place] = siblings.back();
    siblings.pop_back();
    tokens_ -= leaf.size();
    nodes_.erase(leaf.self);
}

}  // namespace hetune
