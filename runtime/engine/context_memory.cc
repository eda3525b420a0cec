#include "runtime/engine/context_memory.h"

#include <algorithm>
#include <span>

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
      slots_(static_cast<size_t>(model.options().sequences)) {
    const LoadOptions& options = model.options();
    const auto sequences = static_cast<int64_t>(options.sequences);
    const int64_t pages = sequences * pages_of_context(context_);
    const auto add = [&](const std::string& name, int64_t bytes) {
        auto& made = buffers_[name];
        if (made == nullptr) {
            made = device_.allocate(static_cast<size_t>(std::max<int64_t>(bytes, 1)));
            bytes_ += bytes;
        }
        return made.get();
    };
    std::map<std::string, size_t> states;  // the largest of each name
    for (const Plan& plan : model.plans().steps)
        for (const PlanBuffer& buffer : plan.buffers) {
            if (buffer.role == BufferRole::kKv)
                add(buffer.name, buffer.bytes_per_context * pages * kPageTokens);
            if (buffer.role == BufferRole::kPages)
                table_ = add(buffer.name, pages * static_cast<int64_t>(sizeof(int32_t)));
            if (buffer.role == BufferRole::kState) {
                size_t& bytes = states[buffer.name];
                bytes = std::max(bytes, static_cast<size_t>(buffer.bytes + 255) / 256 * 256);
            }
        }
    strides_.pages = pages_of_context(context_);

    size_t all = 0;
    for (const auto& [name, bytes] : states) all += bytes;
    strides_.state = static_cast<int64_t>(all / sizeof(float));
    if (all > 0) states_ = device_.allocate(all * slots_.size());
    size_t at = 0;
    for (const auto& [name, bytes] : states) {
        buffers_[name] = std::make_unique<Part>(*states_, at, bytes);
        at += bytes;
    }
    for (size_t slot = 0; slot < slots_.size(); ++slot)
        slots_[slot].snapshots = std::make_unique<StateSnapshots>(
            device_, StateSnapshots::State{states_.get(), slot * all, all}, options.state_snapshots,
            context_);
    bytes_ += static_cast<int64_t>(all) * sequences * (1 + options.state_snapshots);
    for (auto page = static_cast<int32_t>(pages); page-- > 0;) free_pages_.push_back(page);
}

int ContextMemory::take() {
    const auto free = std::ranges::find(slots_, false, &Slot::taken);
    if (free == slots_.end()) return -1;
    free->taken = true;
    free->snapshots->clear();
    return static_cast<int>(free - slots_.begin());
}

void ContextMemory::give_back(int slot) {
    Slot& own = slots_[static_cast<size_t>(slot)];
    free_pages_.insert(free_pages_.end(), own.pages.rbegin(), own.pages.rend());
    own.pages.clear();
    own.taken = false;
}

bool ContextMemory::reserve(int slot, int64_t tokens) {
    Slot& own = slots_[static_cast<size_t>(slot)];
    const auto wanted = static_cast<size_t>(pages_of_context(std::min(tokens, context_)));
    const size_t before = own.pages.size();
    if (wanted <= before || table_ == nullptr) return true;
    if (wanted - before > free_pages_.size()) return false;
    while (own.pages.size() < wanted) {
        own.pages.push_back(free_pages_.back());
        free_pages_.pop_back();
    }
    const auto entry = static_cast<size_t>(slot) * static_cast<size_t>(strides_.pages) + before;
    device_.upload(*table_, entry * sizeof(int32_t),
                   std::as_bytes(std::span(own.pages).subspan(before)));
    return true;
}

Buffer* ContextMemory::find(const std::string& name) const {
    const auto found = buffers_.find(name);
    return found == buffers_.end() ? nullptr : found->second.get();
}

}  // namespace hetune
