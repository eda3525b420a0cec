// Pairs of neighbours that could be merged: the lowest rank first, the leftmost of equal rank
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace hetune {

class MergeQueue {
  public:
    struct Candidate {
        int32_t rank;
        int32_t left;  // where the left one of the pair begins
    };

    // Empties the queue for a text of so many bytes.
    void reset(size_t bytes);
    void add(int32_t rank, int32_t left);
    std::optional<Candidate> take();

  private:
    // A long text has few ranks, and most pairs of one rank are found from left to right: appending
    // them costs no comparison. 50 MB of spaces take 6 s; one heap of all pairs took 50 s, as each
    // step down the heap missed the processor's caches.
    struct OneRank {
        std::vector<int32_t> in_order;
        size_t taken = 0;           // of in_order
        std::vector<int32_t> late;  // a heap of those that came behind one farther right
    };

    bool short_ = true;
    std::vector<uint64_t> heap_;  // of a short text: (rank, left)
    std::map<int32_t, OneRank> ranks_;
};

}  // namespace hetune
