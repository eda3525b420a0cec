// Which prefixes can be used again, and who uses which pages. Texts as in prefix_model.h.
#include "runtime/engine/prefix_tree.h"

#include <doctest/doctest.h>

#include <array>
#include <random>

#include "tests/runtime/prefix_model.h"

namespace hetune {
namespace {

constexpr int kPageTokens = 4;
using Pages = std::vector<int>;

// A tree on a pool, called with texts.
struct Tree {
    PagePool pool;
    Pages given_back;  // ids of checkpoints
    PrefixTree tree;

    explicit Tree(int pages, PrefixNodes::Hash hash = PrefixNodes::xxh3)
        : pool(pages),
          tree(
              pool, kPageTokens, [this](int id) { given_back.push_back(id); }, hash) {}

    void insert(const std::string& text, const Pages& pages) {
        tree.insert(tokens_of(text), stretches_of(text), pages);
    }
    // A sequence that computes all of the text, and ends.
    Pages compute(const std::string& text) {
        Pages pages;
        for (size_t at = 0; at < text.size(); at += kPageTokens) pages.push_back(pool.take());
        insert(text, pages);
        for (const int page : pages) pool.give_back(page);
        return pages;
    }
    PrefixTree::Prefix match(const std::string& text, bool exact = false) {
        return tree.match(tokens_of(text), exact);
    }
    PrefixTree::Prefix match_checkpoint(const std::string& text, bool exact = false) {
        return tree.match_checkpoint(tokens_of(text), exact);
    }
    bool keep(const std::string& text, int id) {
        return tree.keep(tokens_of(text), stretches_of(text), id);
    }
    int64_t length(const std::string& text, bool exact = false) {
        return match(text, exact).tokens;
    }
};

TEST_CASE("what is to be stored: pages from the first one on, of the path that was used last") {
    Tree pages(10), states(10);
    const auto next = [&](bool for_state) {
        const auto found = (for_state ? states : pages).tree.next_to_store(for_state);
        if (!found) return std::pair(int64_t{-1}, -1);
        const auto at = std::pair(found->node->start,
                                  found->checkpoint != nullptr ? found->checkpoint->id : -1);
        (found->checkpoint != nullptr ? found->checkpoint->stored : found->node->stored) = true;
        return at;
    };
    using At = std::pair<int64_t, int>;
    CHECK(next(false) == At{-1, -1});
    const std::string page(kPageTokens, 'a'), other(kPageTokens, 'b');
    pages.compute(page + page + "a");
    CHECK(next(false) == At{0, -1});
    pages.compute(page + other);
    CHECK(next(false) == At{kPageTokens, -1});  // of `other`
    CHECK(next(false) == At{kPageTokens, -1});
    CHECK(next(false) == At{-1, -1});  // a page in part is none

    // Only what leads to a state, and no state without a page before it.
    states.compute(page + page);
    states.compute(other + page + "b");
    CHECK(next(true) == At{-1, -1});
    CHECK(states.keep(other.substr(1), 7));
    CHECK(states.keep(other + page + "b", 8));
    CHECK(next(true) == At{0, -1});
    CHECK(next(true) == At{kPageTokens, -1});
    CHECK(next(true) == At{2 * kPageTokens, 8});
    CHECK(next(true) == At{-1, -1});
    CHECK(states.keep(page, 9));
    CHECK(next(true) == At{0, -1});
    CHECK(next(true) == At{0, 9});
}

TEST_CASE("a page is free when its last user has given it back") {
    PagePool pool(2);
    const int page = pool.take();
    pool.share(page);
    CHECK(pool.take() != page);
    CHECK(pool.take() == -1);
    pool.give_back(page);
    CHECK(pool.users(page) == 1);
    CHECK(pool.free() == 0);
    pool.give_back(page);
    CHECK(pool.take() == page);
}

TEST_CASE("full pages of a prefix are shared, and a page that holds more is copied") {
    Tree tree(8);
    const Pages pages = tree.compute("abcdefgh");
    const PrefixTree::Prefix found = tree.match("abcdefxy");
    CHECK(found.tokens == 6);
    CHECK(found.pages == Pages{pages[0]});
    CHECK(found.copied_page == pages[1]);
    CHECK(found.copied_tokens == 2);
    CHECK(tree.match("xbcd") == PrefixTree::Prefix{});
}

TEST_CASE("a prefix that ends with a page copies nothing") {
    Tree tree(8);
    const Pages pages = tree.compute("abcdefgh");
    CHECK(tree.match("abcdxyzw").pages == Pages{pages[0]});
    CHECK(tree.match("abcdxyzw").copied_page == -1);
    CHECK(tree.match("abcdefghi").pages == pages);
    CHECK(tree.match("abcdefghi").copied_page == -1);
}

TEST_CASE("a partial leaf is copied, and a block that continues it replaces it") {
    Tree tree(8);
    const Pages first = tree.compute("abcdef");
    CHECK(tree.match("abcdefgh").copied_page == first[1]);
    CHECK(tree.match("abcdefgh").tokens == 6);

    const Pages second = tree.compute("abcdefghi");
    CHECK(tree.tree.counts() == PrefixTree::Counts{3, 0, 9});
    CHECK(tree.match("abcdefgh").pages == Pages{first[0], second[1]});
    CHECK(tree.pool.users(first[1]) == 0);
    CHECK(tree.pool.users(second[0]) == 0);  // the tree had that block already
}

TEST_CASE("a running sequence continues its partial leaf on the same page") {
    Tree tree(8);
    const int page = tree.pool.take();
    for (const char* text : {"a", "abc", "abcd"}) tree.insert(text, {page});
    CHECK(tree.tree.counts() == PrefixTree::Counts{1, 0, 4});
    CHECK(tree.pool.users(page) == 2);
    CHECK(tree.match("abcd").pages == Pages{page});
}

TEST_CASE("blocks that diverge inside are two nodes, each found by its own tokens") {
    Tree tree(8);
    tree.compute("abcdefgh");
    tree.compute("abcdefxy");
    CHECK(tree.tree.counts().pages == 3);
    CHECK(tree.length("abcdefghi") == 8);
    CHECK(tree.length("abcdefxyi") == 8);
    CHECK(tree.length("abcdefz") == 6);
}

TEST_CASE("an exact prefix ends before the first token that decoding made") {
    Tree tree(12);
    tree.compute("abcdeFGHij");
    CHECK(tree.length("abcdefghij", true) == 5);
    CHECK(tree.length("abcdefghij") == 10);
    CHECK(tree.match("abcdefghij").stretches == stretches_of("abcdeFGHij"));

    tree.compute("abcdefghij");  // all a prompt: other nodes, and the better ones for everyone
    CHECK(tree.tree.counts().pages == 5);
    CHECK(tree.length("abcdefghij", true) == 10);
    CHECK(tree.match("abcdefghij").stretches == stretches_of("abcdefghij"));

    tree.compute("uvwXYz");
    tree.compute("uvWXyz");
    CHECK(tree.match("uvwxyz").stretches == stretches_of("uvwXYz"));  // 3 from the first on, not 2
}

TEST_CASE("the page that was used longest ago goes first, and a leaf before the nodes above it") {
    Tree tree(6);
    tree.compute("aaaabbbb");
    tree.compute("aaaacccc");
    tree.compute("dddd");
    tree.match("aaaabbbb");
    CHECK(tree.tree.evict(3));
    CHECK(tree.length("aaaacccc") == 4);
    CHECK(tree.tree.evict(4));
    CHECK(tree.length("dddd") == 0);
    CHECK(tree.length("aaaabbbb") == 8);
    CHECK(tree.tree.evict(5));
    CHECK(tree.length("aaaabbbb") == 4);
    CHECK(tree.tree.evict(6));
    CHECK(!tree.tree.evict(7));
}

TEST_CASE("a page in use stays in the tree, unless it keeps an unused page above it from going") {
    Tree tree(5);
    const int running = tree.pool.take();
    tree.insert("aaaa", {running});
    tree.compute("bbbb");
    CHECK(tree.tree.evict(4));
    CHECK(!tree.tree.evict(5));
    CHECK(tree.length("aaaa") == 4);

    const Pages own{tree.pool.take(), tree.pool.take()};  // of a sequence that computed "cccc" too
    tree.compute("cccc");
    tree.insert("ccccdddd", own);
    tree.compute("bbbb");
    CHECK(tree.tree.evict(1));
    CHECK(tree.length("bbbb") == 0);
    CHECK(tree.length("ccccdddd") == 8);
    CHECK(tree.tree.evict(2));
    CHECK(tree.length("cccc") == 0);
    CHECK(tree.length("aaaa") == 4);
    CHECK(tree.pool.users(own[1]) == 1);
}

TEST_CASE("a recurrent model goes on at the deepest checkpoint of its prefix") {
    Tree tree(8);
    const Pages pages = tree.compute("abcdefghiJ");
    CHECK(tree.keep("ab", 1));
    CHECK(tree.keep("abcdefgh", 2));
    CHECK(tree.keep("abcdefghiJ", 3));
    CHECK(!tree.keep("ab", 4));           // has one
    CHECK(!tree.keep("abcdefghij", 4));   // not made like that
    CHECK(!tree.keep("abcdefghiJk", 4));  // not in the tree

    const PrefixTree::Prefix found = tree.match_checkpoint("abcdefghix");
    CHECK(found.tokens == 8);
    CHECK(found.checkpoint == 2);
    CHECK(found.pages == Pages{pages[0], pages[1]});
    CHECK(found.copied_page == -1);
    CHECK(tree.match_checkpoint("abcdefghij").checkpoint == 3);
    CHECK(tree.match_checkpoint("abcdefghij", true).checkpoint == 2);
    CHECK(tree.match_checkpoint("abcdefxx").checkpoint == 1);
    CHECK(tree.match_checkpoint("abcdefxx").copied_page == pages[0]);
    CHECK(tree.match_checkpoint("a") == PrefixTree::Prefix{});
}

TEST_CASE("the deepest checkpoint counts, however the tokens before it were made") {
    for (const auto& [one, other] : {std::pair("abcDefg", "abCDef"), {"abcDef", "abCDefg"}}) {
        Tree tree(8);
        tree.compute(one);
        tree.compute(other);
        CHECK(tree.keep(one, 6));
        CHECK(tree.keep(other, 7));
        CHECK(tree.match_checkpoint("abcdefgh").tokens == 7);
        CHECK(tree.match_checkpoint("abcdef").tokens == 6);
    }
}

TEST_CASE("the checkpoint that was used longest ago goes first, and all go with their node") {
    Tree tree(8);
    tree.compute("abcdefgh");
    for (const auto& [text, id] : {std::pair("ab", 1), {"abcde", 2}, {"abcdefgh", 3}})
        CHECK(tree.keep(text, id));
    tree.match_checkpoint("abc");
    CHECK(tree.tree.evict_checkpoint());
    CHECK(tree.given_back == Pages{2});
    CHECK(tree.tree.evict(7));
    CHECK(tree.given_back == Pages{2, 3});
    tree.tree.clear();
    CHECK(tree.given_back == Pages{2, 3, 1});
    CHECK(!tree.tree.evict_checkpoint());
    CHECK(tree.pool.free() == 8);
}

// Random sequences that run on a pool as an engine would run them, beside the model. Memory holds
// for each token of a page the text up to there, as keys and values depend on all of it.
class Engine {
  public:
    Engine(unsigned seed, PrefixNodes::Hash hash)
        : random_(seed), tree_(kPages, hash), model_(kPageTokens) {}

    void run(int operations) {
        for (int i = 0; i < operations; ++i) {
            INFO("operation ", i);
            step();
            compare();
        }
        while (!running_.empty()) end(running_.size() - 1);
        tree_.tree.clear();
        model_.clear();
        compare();
        CHECK(tree_.pool.free() == kPages);
        for (const int count : used_) CHECK(count > operations / 100);  // the test reaches all
    }

  private:
    static constexpr int kPages = 40;
    struct Sequence {
        std::string text;
        Pages pages;
    };

    size_t below(size_t limit) { return random_() % limit; }

    void step() {
        const size_t kind = below(100);
        Sequence* sequence = running_.empty() ? nullptr : &running_[below(running_.size())];
        if (kind < 20) return start();
        if (kind < 30) return static_cast<void>(check_match(some_text(), below(2) == 0));
        if (kind < 31 && below(10) == 0) return clear();
        if (kind < 36) return evict(below(kPages * 2 / 3));
        if (kind < 37) return evict_checkpoint();
        if (sequence == nullptr) return;
        if (kind < 55) return compute(*sequence, random_text(below(2) == 0 ? 'a' : 'A'));
        if (kind < 60) return cut(*sequence, below(sequence->text.size() + 1));
        if (kind < 65) return fork(*sequence);
        const std::string part = sequence->text.substr(0, below(sequence->text.size() + 1));
        if (kind < 77) return insert(*sequence, below(2) == 0 ? sequence->text : part);
        if (kind < 93) return keep(part);
        end(static_cast<size_t>(sequence - running_.data()));
    }

    // Often the start of a text that was there, so that much is found.
    std::string some_text() {
        std::string text;
        if (!texts_.empty() && below(4) > 0) {
            text = texts_[below(texts_.size())];
            text.resize(below(text.size() + 1));
        }
        return text.size() > 24 ? text : text + random_text('a');
    }
    // Up to 7 tokens of 3 kinds.
    std::string random_text(char first_token) {
        std::string text(below(8), first_token);
        for (char& token : text) token = static_cast<char>(token + below(3));
        return text;
    }

    PrefixTree::Prefix check_match(const std::string& text, bool exact) {
        const bool recurrent = below(2) == 0;
        const PrefixTree::Prefix found =
            recurrent ? tree_.match_checkpoint(text, exact) : tree_.match(text, exact);
        const PrefixTree::Prefix expected =
            recurrent ? model_.match_checkpoint(text, exact) : model_.match(text, exact);
        CHECK(found == expected);
        const std::string made = made_as(text, found);
        Pages pages = found.pages;
        if (found.copied_page >= 0) pages.push_back(found.copied_page);
        for (size_t i = 0; i < made.size(); ++i)
            CHECK(memory_[pages[i / kPageTokens]][i % kPageTokens] == made.substr(0, i + 1));
        if (exact) CHECK(std::ranges::all_of(made, by_prompt));
        if (found.tokens > 0) ++used_[found.checkpoint < 0 ? 0 : 1];
        return found;
    }

    // The tokens of a found prefix with their making.
    static std::string made_as(std::string text, const PrefixTree::Prefix& found) {
        text.resize(static_cast<size_t>(found.tokens));
        size_t at = 0;
        for (const auto& stretch : found.stretches)
            for (; at < static_cast<size_t>(stretch.end); ++at)
                text[at] = static_cast<char>(stretch.path == SequenceState::Path::kPrompt
                                                 ? std::tolower(text[at])
                                                 : std::toupper(text[at]));
        return text;
    }

    void start() {
        if (running_.size() == 6) return;
        const std::string text = some_text();
        const PrefixTree::Prefix found = check_match(text, below(2) == 0);
        Sequence sequence{made_as(text, found), found.pages};
        for (const int page : found.pages) share(page);
        if (found.copied_page >= 0) {
            share(found.copied_page);
            const int copy = take();
            if (copy >= 0)
                sequence.pages.push_back(copy), memory_[copy] = memory_[found.copied_page];
            give_back(found.copied_page);
            if (copy < 0) sequence.text.resize(found.pages.size() * kPageTokens);
        }
        running_.push_back(sequence);
        std::string rest = text.substr(sequence.text.size());
        if (below(3) == 0) std::ranges::transform(rest, rest.begin(), ::toupper);
        compute(running_.back(), rest);
        texts_.push_back(running_.back().text);
        if (texts_.size() > 30) texts_.erase(texts_.begin());
    }

    // As far as there are pages.
    void compute(Sequence& sequence, const std::string& more) {
        for (const char token : more) {
            const size_t at = sequence.text.size();
            if (at % kPageTokens == 0) {
                const int page = take();
                if (page < 0) return;
                sequence.pages.push_back(page);
            }
            sequence.text += token;
            memory_[static_cast<size_t>(sequence.pages.back())][at % kPageTokens] = sequence.text;
        }
    }

    void cut(Sequence& sequence, size_t count) {
        sequence.text.resize(count);
        while (sequence.pages.size() > (count + kPageTokens - 1) / kPageTokens) {
            give_back(sequence.pages.back());
            sequence.pages.pop_back();
        }
        if (count % kPageTokens > 0 && tree_.pool.users(sequence.pages.back()) > 1)
            own_last_page(sequence);
    }

    void fork(const Sequence& sequence) {
        if (running_.size() == 6) return;
        Sequence other = sequence;
        for (const int page : other.pages) share(page);
        if (other.text.size() % kPageTokens > 0) own_last_page(other);
        running_.push_back(other);
    }

    void own_last_page(Sequence& sequence) {
        const int shared = sequence.pages.back(), copy = take();
        sequence.pages.pop_back();
        if (copy >= 0) {
            memory_[copy] = memory_[shared];
            sequence.pages.push_back(copy);
        } else {
            sequence.text.resize(sequence.pages.size() * kPageTokens);
        }
        give_back(shared);
    }

    void insert(const Sequence& sequence, const std::string& text) {
        Pages pages = sequence.pages;
        pages.resize((text.size() + kPageTokens - 1) / kPageTokens);
        // The last stretch may go on behind the tokens.
        tree_.tree.insert(tokens_of(text), stretches_of(sequence.text), pages);
        model_.insert(text, pages);
        ++used_[2];
    }

    void keep(const std::string& text) {
        const bool kept = tree_.keep(text, next_id_);
        CHECK(kept == model_.keep(text, next_id_));
        if (kept) ++next_id_, ++used_[3];
    }

    void end(size_t index) {
        for (const int page : running_[index].pages) give_back(page);
        running_.erase(running_.begin() + static_cast<ptrdiff_t>(index));
    }

    void evict(size_t wanted) {
        const int pages = tree_.tree.counts().pages;
        const bool enough = tree_.tree.evict(static_cast<int>(wanted));
        CHECK(enough == (tree_.pool.free() >= static_cast<int>(wanted)));
        model_.evict([&] { return std::ranges::count(users(), 0) < static_cast<int64_t>(wanted); },
                     [&](int page) { return users()[static_cast<size_t>(page)] == 1; });
        if (tree_.tree.counts().pages < pages) ++used_[4];
    }

    void evict_checkpoint() { CHECK(tree_.tree.evict_checkpoint() == model_.evict_checkpoint()); }

    void clear() {
        tree_.tree.clear();
        model_.clear();
    }

    int take() {
        if (tree_.pool.free() == 0) evict(3);
        const int page = tree_.pool.take();
        if (page >= 0) {
            CHECK(users()[static_cast<size_t>(page)] == 0);
            ++held_[static_cast<size_t>(page)];
        }
        return page;
    }
    void share(int page) {
        tree_.pool.share(page);
        ++held_[static_cast<size_t>(page)];
    }
    void give_back(int page) {
        tree_.pool.give_back(page);
        --held_[static_cast<size_t>(page)];
    }

    // Of each page: sequences, and the model's entries.
    Pages users() const {
        Pages users = held_;
        for (const auto& entry : model_.entries) ++users[static_cast<size_t>(entry.page)];
        return users;
    }

    void compare() {
        const Pages expected = users();
        for (int page = 0; page < kPages; ++page)
            CHECK(tree_.pool.users(page) == expected[static_cast<size_t>(page)]);
        CHECK(tree_.pool.free() == std::ranges::count(expected, 0));
        CHECK(tree_.tree.counts() == model_.counts());
        std::ranges::sort(tree_.given_back);
        std::ranges::sort(model_.given_back);
        CHECK(tree_.given_back == model_.given_back);
    }

    std::mt19937 random_;
    Tree tree_;
    PrefixModel model_;
    std::vector<Sequence> running_;
    std::vector<std::string> texts_;  // of sequences that ran
    Pages held_ = Pages(kPages);      // users of each page other than the tree
    std::vector<std::array<std::string, kPageTokens>> memory_{kPages};
    int next_id_ = 0;
    // Prefixes and checkpoints found, texts inserted, checkpoints kept, nodes evicted.
    std::array<int, 5> used_{};
};

TEST_CASE("10,000 random operations give what a plain list of prefixes gives") {
    Engine(1, PrefixNodes::xxh3).run(10000);
}

TEST_CASE("blocks whose hashes collide share no page") {
    Engine(2, [](uint64_t, std::span<const int32_t>) -> uint64_t { return 0; }).run(10000);
}

}  // namespace
}  // namespace hetune
