// Pages and states that sequences share: whatever one of them writes, each finds its own.
#include "runtime/engine/context_memory.h"

#include <doctest/doctest.h>

#include <cstring>
#include <random>

#include "planner/plan/device_sizes.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

using Path = SequenceState::Path;

struct Text {
    std::vector<int32_t> tokens;
    std::vector<Path> made;
    void add(int32_t token, Path path) {
        tokens.push_back(token);
        made.push_back(path);
    }
    void cut(size_t count) {
        tokens.resize(count);
        made.resize(count);
    }
    std::vector<SequenceState::Stretch> stretches() const {
        return SequenceState::stretches_of(made);
    }
    // A kernel writes such a value for the last of `count` tokens: it depends on all of them.
    uint64_t mark(size_t count) const {
        uint64_t hash = 14695981039346656037u;
        for (size_t i = 0; i < count; ++i)
            hash = (hash ^ static_cast<uint64_t>(tokens[i] * 8 + static_cast<int>(made[i]) + 1)) *
                   1099511628211u;
        return hash;
    }
};

// A ContextMemory, and for each slot the text that it should hold.
class Checked {
  public:
    Checked(const LoadedModel& model, uint32_t seed) : model_(model), random_(seed) {
        texts_.resize(static_cast<size_t>(memory_.slots()));
        for (const Plan& plan : model.plans().steps)
            for (const PlanBuffer& buffer : plan.buffers) {
                if (buffer.role == BufferRole::kKv)
                    kv_[bytes_of(buffer.name)] = static_cast<size_t>(buffer.bytes_per_context);
                if (buffer.role == BufferRole::kPages) table_ = bytes_of(buffer.name);
                if (buffer.role == BufferRole::kState) states_.push_back(bytes_of(buffer.name));
            }
        all_pages_ = memory_.free_pages();
    }

    void operate() {
        const int slot = below(memory_.slots());
        auto& text = texts_[static_cast<size_t>(slot)];
        const int what = below(100);
        if (what == 0 && below(4) == 0) {
            memory_.forget_prefixes();
        } else if (!text) {
            open();
        } else if (what < 25) {
            memory_.give_back(slot);
            text.reset();
        } else if (what < 32) {
            text->cut(static_cast<size_t>(below(static_cast<int>(text->tokens.size()) + 1)));
            set_state(slot);
        } else if (what < 60) {
            keep(slot);
        } else {
            write(slot, 1 + below(what < 80 ? 10 : 90));
        }
        for (int each = 0; each < memory_.slots(); ++each) check(each);
    }

    void end() {
        for (int slot = 0; slot < memory_.slots(); ++slot)
            if (texts_[static_cast<size_t>(slot)]) memory_.give_back(slot);
        memory_.forget_prefixes();
        CHECK(memory_.free_pages() == all_pages_);
        CHECK(memory_.prefixes() == PrefixTree::Counts{});
        // And every checkpoint is there.
        const int slot = memory_.take();
        auto& text = texts_[static_cast<size_t>(slot)].emplace();
        const int wanted = memory_.has_state() ? state_checkpoints(model_.options()) : 0;
        for (int i = 0; i < wanted; ++i) {
            write(slot, 1);
            memory_.keep_prefix(slot, text.tokens, text.stretches(), true);
        }
        CHECK(memory_.prefixes().checkpoints == wanted);
    }
    int64_t taken_over() const { return taken_over_; }

  private:
    int below(int count) { return static_cast<int>(random_() % static_cast<uint32_t>(count)); }
    std::byte* bytes_of(const std::string& name) const {
        return reinterpret_cast<std::byte*>(memory_.find(name)->address());
    }
    std::byte* row(std::byte* kv, size_t row_bytes, int slot, size_t position) const {
        int32_t page = 0;
        std::memcpy(&page,
                    table_ + (static_cast<size_t>(slot * memory_.strides().pages) +
                              position / static_cast<size_t>(kPageTokens)) *
                                 sizeof page,
                    sizeof page);
        return kv + (static_cast<size_t>(page) * static_cast<size_t>(kPageTokens) +
                     position % static_cast<size_t>(kPageTokens)) *
                        row_bytes;
    }
    std::byte* state(std::byte* first, int slot) const {
        return first + static_cast<size_t>(slot * memory_.strides().state) * sizeof(float);
    }
    void set_state(int slot) {
        const Text& text = *texts_[static_cast<size_t>(slot)];
        const uint64_t mark = text.mark(text.tokens.size());
        for (std::byte* first : states_) std::memcpy(state(first, slot), &mark, sizeof mark);
    }

    // A start of a text that was there before, and something new.
    void open() {
        Text text =
            known_.empty() ? Text{} : known_[static_cast<size_t>(below(64)) % known_.size()];
        if (below(4) == 0)
            text.cut(static_cast<size_t>(below(static_cast<int>(text.tokens.size()) + 1)));
        for (int i = below(20); i > 0 && std::ssize(text.tokens) < memory_.context(); --i)
            text.add(below(3), Path::kPrompt);
        const int slot = memory_.take();
        REQUIRE(slot >= 0);
        const bool exact = below(4) == 0;
        const int64_t known = memory_.kept(text.tokens, exact);
        const PrefixTree::Prefix prefix = memory_.take_prefix(slot, text.tokens, exact);
        CHECK(prefix.tokens <= known);
        if (!memory_.has_state()) CHECK(prefix.tokens == known);
        taken_over_ += prefix.tokens;
        // How the tokens were made may differ.
        Text& held = texts_[static_cast<size_t>(slot)].emplace();
        for (const auto& stretch : prefix.stretches) {
            CHECK((!exact || stretch.path == Path::kPrompt));
            while (std::ssize(held.tokens) < stretch.end)
                held.add(text.tokens[held.tokens.size()], stretch.path);
        }
        CHECK(std::ssize(held.tokens) == prefix.tokens);
        if (prefix.tokens == 0) set_state(slot);
        CHECK(memory_.reserve(slot, std::ssize(text.tokens)));
    }
    void write(int slot, int count) {
        Text& text = *texts_[static_cast<size_t>(slot)];
        count = std::min(count, static_cast<int>(memory_.context() - std::ssize(text.tokens)));
        const size_t from = text.tokens.size();
        const Path path = below(2) == 0 ? Path::kPrompt : Path::kAnswer;
        for (int i = 0; i < count; ++i) text.add(below(3), path);
        REQUIRE(memory_.reserve(slot, std::ssize(text.tokens)));
        memory_.write_from(slot, static_cast<int64_t>(from));
        for (size_t at = from; at < text.tokens.size(); ++at) {
            const uint64_t mark = text.mark(at + 1);
            for (const auto& [kv, row_bytes] : kv_)
                std::memcpy(row(kv, row_bytes, slot, at), &mark, sizeof mark);
        }
        set_state(slot);
    }
    void keep(int slot) {
        const Text& text = *texts_[static_cast<size_t>(slot)];
        memory_.keep_prefix(slot, text.tokens, text.stretches(), below(3) > 0);
        CHECK(memory_.kept(text.tokens, false) == std::ssize(text.tokens));
        if (known_.size() < 64)
            known_.push_back(text);
        else
            known_[static_cast<size_t>(below(64))] = text;
    }
    void check(int slot) {
        const auto& text = texts_[static_cast<size_t>(slot)];
        if (!text) return;
        int wrong = 0;
        for (size_t at = 0; at < text->tokens.size(); ++at) {
            const uint64_t mark = text->mark(at + 1);
            for (const auto& [kv, row_bytes] : kv_)
                wrong += std::memcmp(row(kv, row_bytes, slot, at), &mark, sizeof mark) != 0;
        }
        const uint64_t mark = text->mark(text->tokens.size());
        for (std::byte* first : states_)
            wrong += std::memcmp(state(first, slot), &mark, sizeof mark) != 0;
        CHECK(wrong == 0);
    }

    const LoadedModel& model_;
    ContextMemory memory_{model_};
    std::mt19937 random_;
    std::vector<std::optional<Text>> texts_;  // of the slots
    std::vector<Text> known_;                 // that were kept, though they may have gone
    std::map<std::byte*, size_t> kv_;         // bytes of a row
    std::byte* table_ = nullptr;
    std::vector<std::byte*> states_;  // of the first slot
    int all_pages_ = 0;
    int64_t taken_over_ = 0;
};

TEST_CASE("10,000 random operations leave each slot its own tokens, and give every page back") {
    int64_t taken_over = 0;
    for (const std::string name : {"tiny", "mini35"})
        for (const int slots : {1, 3}) {
            CAPTURE(name);
            CAPTURE(slots);
            // Pages for three in a slot, the last of them not whole.
            const Loaded loaded(kModels + "/" + name + "-Q4_K_M.gguf",
                                {.context = 150, .sequences = slots, .state_snapshots = 0});
            Checked memory(loaded.session.model(), 7);
            for (int i = 0; i < 2500; ++i) memory.operate();
            memory.end();
            taken_over += memory.taken_over();
        }
    CHECK(taken_over > 4000);
}

}  // namespace
}  // namespace hetune
