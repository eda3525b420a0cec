// The nodes of PrefixTree: blocks of tokens below each other, and the order of their use. Knows
// neither users of pages nor when a node goes.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/blake2b.h"
#include "runtime/oracle/sequence_state.h"

namespace hetune {

struct PrefixNode;

// A copy of recurrent state; its number belongs to PrefixTree's caller.
struct PrefixCheckpoint {
    PrefixNode* node;     // whose tokens end at `position`, or go on behind it
    int64_t position;     // tokens from the first of the path
    int id;               // the caller's
    bool stored = false;  // PrefixTree::next_to_store() need not name it
};

// Tokens of one page, and how each was made.
struct PrefixBlock {
    std::span<const int32_t> tokens;
    std::span<const SequenceState::Path> made;  // [tokens]
};

struct PrefixNode {
    PrefixNode* parent = nullptr;  // nullptr: the root, which has no token and no page
    int page = -1;
    int64_t start = 0;  // tokens of the nodes above
    std::vector<int32_t> tokens;
    std::vector<SequenceState::Path> made;  // [tokens]
    int64_t exact = 0;  // of the path's tokens: as many as prompt kernels made, from the first on
    uint64_t last_use = 0;  // the number of that use; no two nodes of one depth have the same
    std::vector<std::list<PrefixCheckpoint>::iterator> checkpoints;

    std::vector<PrefixNode*> children;  // no one's tokens, made alike, are the start of another's
    size_t place = 0;                   // in the parent's children
    uint64_t hash = 0;                  // of a full block
    bool stored = false;                // PrefixTree::next_to_store() need not name it
    Blake2bHash chain{};                // of a node that was stored: PromptPieces::chain()
    std::list<PrefixNode>::iterator self;

    int64_t size() const { return static_cast<int64_t>(tokens.size()); }
    int64_t end() const { return start + size(); }
    // How many of the node's first tokens are those of `others`, which follow the same tokens.
    // `only_exact`: and were made by prompt kernels, like all tokens above.
    int64_t common(std::span<const int32_t> others, bool only_exact) const;
    // How many of the node's first tokens are those of the block and were made alike.
    int64_t common(const PrefixBlock& block) const;
};

class PrefixNodes {
  public:
    // The hash of a block of tokens and of all tokens before it, whose hash is `before`.
    using Hash = uint64_t (*)(uint64_t before, std::span<const int32_t> block);
    static uint64_t xxh3(uint64_t before, std::span<const int32_t> block);

    PrefixNodes(size_t page_tokens, Hash hash) : page_tokens_(page_tokens), hash_(hash) {}
    PrefixNodes(const PrefixNodes&) = delete;  // nodes point at the root
    PrefixNodes& operator=(const PrefixNodes&) = delete;

    PrefixNode& root() { return root_; }
    // All but the root, the least recently used first. A node stands before the nodes above it.
    std::list<PrefixNode>& in_order_of_use() { return nodes_; }
    int count() const { return static_cast<int>(nodes_.size()); }
    int64_t tokens() const { return tokens_; }

    // The child that begins with the block, made alike; of several the one used last. A full block
    // is found in constant time, a shorter one by looking at each child.
    PrefixNode* find(const PrefixNode& parent, const PrefixBlock& block) const;
    // The child whose tokens, made alike, the block begins with. There is one at most.
    PrefixNode* partial_leaf(const PrefixNode& parent, const PrefixBlock& block) const;
    // The root and the full nodes on paths whose tokens `tokens` begins with, the deepest last.
    // Equal tokens that were made differently are several nodes of one depth.
    std::vector<PrefixNode*> reach(std::span<const int32_t> tokens, bool only_exact);

    PrefixNode& add(PrefixNode& parent);  // without tokens yet
    // Gives a new node or a partial leaf its tokens.
    void fill(PrefixNode& node, const PrefixBlock& block);
    // The node and all nodes above it are used now.
    void use(PrefixNode* node);
    void remove(PrefixNode& leaf);

  private:
    const size_t page_tokens_;
    const Hash hash_;
    PrefixNode root_;
    std::list<PrefixNode> nodes_;  // a use moves a whole path to the back, its last node first
    std::unordered_multimap<uint64_t, PrefixNode*> full_;  // by hash, which says nothing of making
    int64_t tokens_ = 0;
    uint64_t uses_ = 0;  // so far: the time of a use
};

}  // namespace hetune
