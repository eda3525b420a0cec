#include "runtime/engine/context_memory.h"

#include <algorithm>
#include <cassert>

#include "planner/plan/device_sizes.h"

namespace hetune {
namespace {

int64_t pages_of_context(int64_t tokens) { return (tokens + kPageTokens - 1) / kPageTokens; }

// A part of a buffer as launches see it; copies and fills take the whole.
class Part : public Buffer {
  public:
    Part(const Buffer& whole, size_t offset, size_t bytes)
        : address_(whole.address() + offset), bytes_(bytes) {}
    uint64_t address() const override { return address_; }
    size_t bytes() const override { return bytes_; }

  private:
    uint64_t address_;
    size_t bytes_;
};

}  // namespace

ContextMemory::ContextMemory(const LoadedModel& model)
    : device_(model.device()),
      context_(model.options().context),
      slots_(static_cast<size_t>(model.options().sequences)),
      pages_(static_cast<int>(model.options().sequences * pages_of_context(context_))),
      tree_(pages_, static_cast<int>(kPageTokens),
            [this](int checkpoint) { free_checkpoints_.push_back(checkpoint); }) {
    const LoadOptions& options = model.options();
    std::map<std::string, size_t> states;  // the largest of each name
    for (const Plan& plan : model.plans().steps)
        for (const PlanBuffer& buffer : plan.buffers) {
            if (buffer.role == BufferRole::kKv && buffers_[buffer.name] == nullptr) {
                const int64_t page_bytes = buffer.bytes_per_context * kPageTokens;
                kv_.push_back({add(buffer.name, page_bytes * pages_.count()),
                               static_cast<size_t>(page_bytes)});
            }
            if (buffer.role == BufferRole::kPages)
                table_ = add(buffer.name,
                             int64_t{pages_.count()} * static_cast<int64_t>(sizeof(int32_t)));
            if (buffer.role == BufferRole::kState) {
                size_t& bytes = states[buffer.name];
                bytes = std::max(bytes, static_cast<size_t>(buffer.bytes + 255) / 256 * 256);
            }
        }
    strides_.pages = pages_of_context(context_);

    for (const auto& [name, bytes] : states) state_bytes_ += bytes;
    strides_.state = static_cast<int64_t>(state_bytes_ / sizeof(float));
    if (state_bytes_ > 0) states_ = device_.allocate(state_bytes_ * slots_.size());
    size_t at = 0;
    for (const auto& [name, bytes] : states) {
        buffers_[name] = std::make_unique<Part>(*states_, at, bytes);
        at += bytes;
    }
    for (size_t slot = 0; slot < slots_.size(); ++slot)
        slots_[slot].snapshots = std::make_unique<StateSnapshots>(
            device_, StateSnapshots::State{states_.get(), slot * state_bytes_, state_bytes_},
            options.state_snapshots, context_);
    bytes_ += static_cast<int64_t>(state_bytes_ * slots_.size()) * (1 + options.state_snapshots);
    for (int i = 0; has_state() && i < state_checkpoints(options); ++i) {
        checkpoints_.push_back(device_.allocate(state_bytes_));
        free_checkpoints_.push_back(i);
        bytes_ += static_cast<int64_t>(state_bytes_);
    }
}

Buffer* ContextMemory::add(const std::string& name, int64_t bytes) {
    auto& made = buffers_[name];
    if (made == nullptr) {
        made = device_.allocate(static_cast<size_t>(std::max<int64_t>(bytes, 1)));
        bytes_ += bytes;
    }
    return made.get();
}

int ContextMemory::take() {
    const auto free = std::ranges::find(slots_, false, &Slot::taken);
    if (free == slots_.end()) return -1;
    free->taken = true;
    free->snapshots->clear();
    return static_cast<int>(free - slots_.begin());
}

void ContextMemory::give_back(int slot) {
    Slot& held = own(slot);
    for (auto page = held.pages.rbegin(); page != held.pages.rend(); ++page)
        pages_.give_back(*page);
    held.pages.clear();
    held.kept = 0;
    held.taken = false;
}

bool ContextMemory::reserve(int slot, int64_t tokens) {
    Slot& held = own(slot);
    const auto wanted = static_cast<size_t>(pages_of_context(std::min(tokens, context_)));
    const size_t before = held.pages.size();
    if (wanted <= before || table_ == nullptr) return true;
    const auto missing = static_cast<int>(wanted - before);
    if (pages_.free() < missing && !tree_.evict(missing)) return false;
    while (held.pages.size() < wanted) held.pages.push_back(pages_.take());
    upload_pages(slot, before);
    return true;
}

PrefixTree::Prefix ContextMemory::take_prefix(int slot, std::span<const int32_t> tokens,
                                              bool exact) {
    Slot& held = own(slot);
    assert(held.pages.empty());
    PrefixTree::Prefix prefix =
        has_state() ? tree_.match_checkpoint(tokens, exact) : tree_.match(tokens, exact);
    if (prefix.tokens == 0) return prefix;
    held.pages = prefix.pages;
    if (prefix.copied_page >= 0) held.pages.push_back(prefix.copied_page);
    for (const int page : held.pages) pages_.share(page);
    held.kept = std::ssize(prefix.pages) * kPageTokens;
    // First: the checkpoint may have to go where a page is wanted.
    if (prefix.checkpoint >= 0) {
        Buffer& copy = *checkpoints_[static_cast<size_t>(prefix.checkpoint)];
        device_.copy({*states_, static_cast<size_t>(slot) * state_bytes_}, {copy}, state_bytes_);
        held.snapshots->keep(prefix.tokens);
    }
    if (prefix.copied_page >= 0) make_own(held.pages.back(), true);
    upload_pages(slot, 0);
    return prefix;
}

void ContextMemory::keep_prefix(int slot, std::span<const int32_t> tokens,
                                std::span<const SequenceState::Stretch> stretches,
                                bool with_state) {
    if (tokens.empty() || table_ == nullptr) return;
    if (files_) kept_at_ = std::chrono::system_clock::now();
    Slot& held = own(slot);
    const auto count = std::ssize(tokens);
    tree_.insert(tokens, stretches,
                 std::span(held.pages).first(static_cast<size_t>(pages_of_context(count))));
    held.kept = std::max<int64_t>(held.kept, count);
    if (!with_state || checkpoints_.empty()) return;
    if (tree_.match_checkpoint(tokens, false).tokens == count) return;
    if (free_checkpoints_.empty()) tree_.evict_checkpoint();
    const int free = free_checkpoints_.back();
    if (!tree_.keep(tokens, stretches, free)) return;
    free_checkpoints_.pop_back();
    device_.copy({*checkpoints_[static_cast<size_t>(free)]},
                 {*states_, static_cast<size_t>(slot) * state_bytes_}, state_bytes_);
}

void ContextMemory::write_from(int slot, int64_t position) {
    Slot& held = own(slot);
    if (position >= held.kept) return;
    const auto first = static_cast<size_t>(position / kPageTokens);
    const auto end = static_cast<size_t>(pages_of_context(held.kept));
    for (size_t i = first; i < end; ++i)
        make_own(held.pages[i], i == first && position % kPageTokens != 0);
    held.kept = position;
    upload_pages(slot, first);
}

// Where all pages are in use, no two slots have one in common: there are as many pages as all slots
// may have. The tree is then the only other user, and forgets the page.
void ContextMemory::make_own(int& page, bool tokens_stay) {
    if (pages_.users(page) == 1) return;
    if (pages_.free() == 0) tree_.evict(1);
    const int other = pages_.take();
    if (other < 0) {
        tree_.forget(page);
        assert(pages_.users(page) == 1);
        return;
    }
    for (const Kv& kv : kv_)
        if (tokens_stay)
            device_.copy({*kv.buffer, static_cast<size_t>(other) * kv.page_bytes},
                         {*kv.buffer, static_cast<size_t>(page) * kv.page_bytes}, kv.page_bytes);
    pages_.give_back(page);
    page = other;
}

void ContextMemory::upload_pages(int slot, size_t first) {
    const std::vector<int>& pages = own(slot).pages;
    const auto entry = static_cast<size_t>(slot) * static_cast<size_t>(strides_.pages) + first;
    device_.upload(*table_, entry * sizeof(int32_t),
                   std::as_bytes(std::span<const int32_t>(pages).subspan(first)));
}

Buffer* ContextMemory::find(const std::string& name) const {
    const auto found = buffers_.find(name);
    return found == buffers_.end() ? nullptr : found->second.get();
}

}  // namespace hetune
