// PrefixTree said plainly: a list of all prefixes it has, searched by comparing them one by one.
// Tokens are letters, small ones made by prompt kernels and capital ones by decode kernels; a text
// is a sequence.
#pragma once

#include <algorithm>
#include <cctype>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "runtime/engine/prefix_tree.h"

namespace hetune {

inline bool by_prompt(char token) { return std::islower(static_cast<unsigned char>(token)) != 0; }

inline std::vector<int32_t> tokens_of(const std::string& text) {
    std::vector<int32_t> tokens;
    for (const char token : text) tokens.push_back(std::tolower(token));
    return tokens;
}

inline std::vector<SequenceState::Stretch> stretches_of(const std::string& text) {
    using Path = SequenceState::Path;
    std::vector<Path> made;
    for (const char token : text) made.push_back(by_prompt(token) ? Path::kPrompt : Path::kAnswer);
    return SequenceState::stretches_of(made);
}

class PrefixModel {
  public:
    struct Checkpoint {
        size_t position;
        int id;
        int last_use;
    };
    struct Entry {
        std::string text;  // from the first token on
        int page;
        int last_use;
        std::vector<Checkpoint> checkpoints;
    };
    std::vector<Entry> entries;
    std::vector<int> given_back;  // ids of checkpoints

    explicit PrefixModel(size_t page_tokens) : page_tokens_(page_tokens) {}

    void insert(const std::string& text, const std::vector<int>& pages) {
        for (size_t start = 0; start < text.size(); start += page_tokens_) {
            const std::string part = text.substr(0, start + page_tokens_);
            if (covering(part) != nullptr) continue;
            const int page = pages[start / page_tokens_];
            const auto shorter = std::ranges::find_if(entries, [&](const Entry& entry) {
                return start_of(entry) == start && part.starts_with(entry.text);
            });
            if (shorter == entries.end()) {
                entries.push_back({part, page, now_, {}});
            } else {
                shorter->text = part;
                shorter->page = page;
            }
        }
        use(text.empty() ? nullptr : covering(text));
    }

    PrefixTree::Prefix match(const std::string& text, bool exact) {
        Entry* best = nullptr;
        size_t best_count = 0;
        for (Entry& entry : entries) {
            const size_t count = common(entry, text, exact);
            if (count <= start_of(entry)) continue;
            if (best == nullptr || rank(entry, count) > rank(*best, best_count)) {
                best = &entry;
                best_count = count;
            }
        }
        use(best);
        return best == nullptr ? PrefixTree::Prefix{}
                               : prefix(best->text.substr(0, best_count), best);
    }

    PrefixTree::Prefix match_checkpoint(const std::string& text, bool exact) {
        Entry* best = nullptr;
        Checkpoint* best_point = nullptr;
        for (Entry& entry : entries)
            for (Checkpoint& point : entry.checkpoints)
                if (point.position <= common(entry, text, exact) &&
                    (best == nullptr ||
                     rank(entry, point.position) > rank(*best, best_point->position))) {
                    best = &entry;
                    best_point = &point;
                }
        if (best == nullptr) return {};
        use(best);
        best_point->last_use = now_;
        PrefixTree::Prefix found = prefix(best->text.substr(0, best_point->position), best);
        found.checkpoint = best_point->id;
        return found;
    }

    bool keep(const std::string& text, int id) {
        Entry* entry = text.empty() ? nullptr : covering(text);
        if (entry == nullptr) return false;
        for (const Checkpoint& point : entry->checkpoints)
            if (point.position == text.size()) return false;
        use(entry);
        entry->checkpoints.push_back({text.size(), id, now_});
        return true;
    }

    // `wanted`: whether more pages are. `alone`: whether the tree is a page's only user.
    void evict(const std::function<bool()>& wanted, const std::function<bool(int)>& alone) {
        for (const bool only_leaves : {true, false})
            while (wanted()) {
                const Entry* oldest = nullptr;
                for (const Entry& entry : entries) {
                    const bool leaf = std::ranges::none_of(
                        entries, [&](const Entry& other) { return below(other, entry); });
                    if (alone(entry.page) && (leaf || !only_leaves) &&
                        (oldest == nullptr || older(entry, *oldest)))
                        oldest = &entry;
                }
                if (oldest == nullptr) break;
                const Entry top = *oldest;
                remove([&](const Entry& entry) {
                    return entry.page == top.page || below(entry, top);
                });
            }
    }

    bool evict_checkpoint() {
        Entry* from = nullptr;
        std::vector<Checkpoint>::iterator oldest;
        for (Entry& entry : entries)
            for (auto at = entry.checkpoints.begin(); at != entry.checkpoints.end(); ++at)
                if (from == nullptr || at->last_use < oldest->last_use) {
                    from = &entry;
                    oldest = at;
                }
        if (from == nullptr) return false;
        given_back.push_back(oldest->id);
        from->checkpoints.erase(oldest);
        return true;
    }

    void clear() {
        remove([](const Entry&) { return true; });
    }

    PrefixTree::Counts counts() const {
        PrefixTree::Counts counts;
        for (const Entry& entry : entries) {
            ++counts.pages;
            counts.checkpoints += static_cast<int>(entry.checkpoints.size());
            counts.tokens += static_cast<int64_t>(entry.text.size() - start_of(entry));
        }
        return counts;
    }

  private:
    size_t start_of(const Entry& entry) const {
        return (entry.text.size() - 1) / page_tokens_ * page_tokens_;
    }

    // The entry whose page holds the last token of `text`; of several the one used last.
    Entry* covering(const std::string& text) {
        Entry* found = nullptr;
        for (Entry& entry : entries)
            if (entry.text.starts_with(text) && start_of(entry) < text.size() &&
                (found == nullptr || entry.last_use > found->last_use))
                found = &entry;
        return found;
    }

    bool below(const Entry& entry, const Entry& above) const {
        return start_of(entry) >= above.text.size() && entry.text.starts_with(above.text);
    }

    static bool older(const Entry& a, const Entry& b) {
        return a.last_use != b.last_use ? a.last_use < b.last_use : a.text.size() > b.text.size();
    }

    static size_t common(const Entry& entry, const std::string& text, bool exact) {
        size_t count = 0;
        while (count < std::min(entry.text.size(), text.size()) &&
               std::tolower(entry.text[count]) == std::tolower(text[count]) &&
               (!exact || by_prompt(entry.text[count])))
            ++count;
        return count;
    }

    static std::tuple<size_t, size_t, int> rank(const Entry& entry, size_t count) {
        const auto exact = static_cast<size_t>(std::ranges::find_if_not(entry.text, by_prompt) -
                                               entry.text.begin());
        return {count, std::min(exact, count), entry.last_use};
    }

    PrefixTree::Prefix prefix(const std::string& text, const Entry* last) const {
        PrefixTree::Prefix prefix;
        prefix.tokens = static_cast<int64_t>(text.size());
        prefix.stretches = stretches_of(text);
        for (size_t end = page_tokens_; end <= text.size(); end += page_tokens_)
            for (const Entry& entry : entries)
                if (entry.text == last->text.substr(0, end)) prefix.pages.push_back(entry.page);
        prefix.copied_tokens = static_cast<int>(text.size() % page_tokens_);
        if (prefix.copied_tokens > 0) prefix.copied_page = last->page;
        return prefix;
    }

    void use(const Entry* last) {
        ++now_;
        if (last == nullptr) return;
        for (Entry& entry : entries)
            if (&entry == last || below(*last, entry)) entry.last_use = now_;
    }

    template <class Which>
    void remove(Which which) {
        for (const Entry& entry : entries)
            if (which(entry))
                for (const Checkpoint& point : entry.checkpoints) given_back.push_back(point.id);
        std::erase_if(entries, which);
    }

    size_t page_tokens_;
    int now_ = 0;
};

}  // namespace hetune
