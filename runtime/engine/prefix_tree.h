// The prefixes of sequences that were computed already: a new sequence takes over their pages of KV
// cache, or a copy of recurrent state, instead of computing the same tokens again.
//
// A radix tree. A node is one page: the tokens of one block of `page_tokens` tokens, behind the
// tokens of all nodes above it. Only a leaf may hold fewer tokens (a partial leaf). The tree is one
// user of each of its pages in the PagePool.
//
// How a token was made (SequenceState::Path) belongs to the block: equal tokens that were made
// differently differ by rounding, so they are two nodes. Equal tokens that were made alike are
// equal bit for bit, so the tree keeps the page that came first.
//
// A checkpoint is a copy of the recurrent state behind exactly so many tokens. Such a state cannot
// be cut back, so a recurrent model goes on at a checkpoint and nowhere else. The tree knows a
// checkpoint by a number; the copy belongs to the caller.
//
// One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <span>
#include <vector>

#include "runtime/engine/page_pool.h"
#include "runtime/engine/prefix_nodes.h"
#include "runtime/oracle/sequence_state.h"

namespace hetune {

class PrefixTree {
  public:
    using Stretch = SequenceState::Stretch;

    // The start of a sequence as the tree has it. The pages are sure to stay only until the next
    // insert(), evict() or clear(): the caller shares `pages` before that, and copies `copied_page`
    // or shares it until the copy is made.
    struct Prefix {
        int64_t tokens = 0;      // of the sequence, from its first
        std::vector<int> pages;  // full ones, in order: shared as they are
        // Holds the tokens behind `pages` and is to be copied, since its other tokens are no part
        // of the sequence; -1: there are none behind `pages`.
        int copied_page = -1;
        int copied_tokens = 0;
        std::vector<Stretch> stretches;  // how the tokens were made, for the new sequence
        int checkpoint = -1;             // behind `tokens`; from match_checkpoint() alone
        bool operator==(const Prefix&) const = default;
    };

    // The pool outlives the tree. `give_back_checkpoint` is called once for each checkpoint that
    // leaves the tree, also by the destructor; it calls nothing of the tree. Another hash is for
    // tests of collisions.
    PrefixTree(PagePool& pool, int page_tokens, std::function<void(int)> give_back_checkpoint,
               PrefixNodes::Hash hash = PrefixNodes::xxh3);
    ~PrefixTree() { clear(); }

    // Keeps the computed tokens of a sequence, which may run on. `stretches` may go on behind the
    // tokens. `pages` hold the tokens, the last one perhaps not to its end. The tree becomes a user
    // of the pages whose blocks it does not have. Where a partial leaf is the start of a block, the
    // block and its page replace it.
    //
    // In its last page the sequence may go on writing behind the tokens. Before it writes over
    // them (it was cut), it copies every page that has other users.
    void insert(std::span<const int32_t> tokens, std::span<const Stretch> stretches,
                std::span<const int> pages);

    // The longest prefix of `tokens` in the tree. `exact`: only as far as prompt kernels made all
    // tokens (Path::kPrompt). Of equally long prefixes the one whose tokens prompt kernels made for
    // longest, counted from the first; of these the one used last.
    // Time: that of the tokens, and of the children of the last node on the way.
    Prefix match(std::span<const int32_t> tokens, bool exact);

    // The prefix up to the deepest checkpoint that lies on it, chosen in the same way. Empty: there
    // is none, and nothing was used. Time: as match(), with the children of all nodes between the
    // checkpoint and the last node on the way.
    Prefix match_checkpoint(std::span<const int32_t> tokens, bool exact);

    // Attaches a checkpoint of the state behind `tokens`, which insert() has put into the tree.
    // False: `checkpoint` stays with the caller, because the tokens have left the tree or their
    // node has a checkpoint there already.
    bool keep(std::span<const int32_t> tokens, std::span<const Stretch> stretches, int checkpoint);

    // Gives pages up until `free_pages` of the pool are free. Leaves go first, the least recently
    // used first, whose page has no other user; then pages without another user that have nodes
    // below them, together with these nodes. Other nodes stay: no page would get free by them.
    // False: fewer are free in the end. Time: that of the nodes passed over.
    // match(), insert() and keep() use all nodes of their path.
    bool evict(int free_pages);

    // Gives up the least recently used checkpoint. keep() uses a checkpoint, and so does
    // match_checkpoint() that returns it; match() and insert() do not. False: there is none.
    bool evict_checkpoint();

    // The piece to be written to a file next, so that others find it: a node with a full page, or a
    // checkpoint behind one page or more; pages first, from the first one of their path on, and of
    // all paths the one used last. `for_state`, the same at all calls: only what leads to
    // checkpoints, and these. The caller sets `stored`. Neither is a use.
    struct Unstored {
        PrefixNode* node = nullptr;
        PrefixCheckpoint* checkpoint = nullptr;  // of the node; nullptr: the node's page
    };
    std::optional<Unstored> next_to_store(bool for_state);

    // Gives up the nodes of a page, with all nodes below them.
    void forget(int page);
    void clear();

    struct Counts {
        int pages = 0;
        int checkpoints = 0;
        int64_t tokens = 0;  // that the pages hold
        bool operator==(const Counts&) const = default;
    };
    Counts counts() const;

  private:
    Prefix prefix(const PrefixNode* node, int64_t tokens) const;
    void give_up(PrefixNode& leaf);
    void give_up_all_from(PrefixNode& node);

    PagePool& pool_;
    const size_t page_tokens_;
    const std::function<void(int)> give_back_checkpoint_;
    PrefixNodes nodes_;
    std::list<PrefixCheckpoint> checkpoints_;  // the least recently used first
    bool all_stored_ = true;                   // next_to_store() would look in vain
};

}  // namespace hetune
