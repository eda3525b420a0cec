#include "runtime/engine/context_memory.h"

#include <algorithm>
#include <vector>

namespace hetune {
namespace {

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

ContextMemory::ContextMemory(const LoadedModel& model) : context_(model.options().context) {
    Device& device = model.device();
    std::map<std::string, size_t> kv, states;  // the largest of each name
    const auto add = [](std::map<std::string, size_t>& list, const std::string& name, int64_t all) {
        size_t& bytes = list[name];
        bytes = std::max(bytes, static_cast<size_t>(all));
    };
    for (const Plan& plan : model.plans().steps)
        for (const PlanBuffer& buffer : plan.buffers) {
            if (buffer.role == BufferRole::kKv)
                add(kv, buffer.name, buffer.bytes + buffer.bytes_per_context * context_);
            if (buffer.role == BufferRole::kState)
                add(states, buffer.name, (buffer.bytes + 255) / 256 * 256);
        }
    for (const auto& [name, bytes] : kv) {
        buffers_[name] = device.allocate(std::max<size_t>(bytes, 1));
        bytes_ += static_cast<int64_t>(bytes);
    }
    size_t all = 0;
    for (const auto& [name, bytes] : states) all += bytes;
    std::vector<Buffer*> copied;
    if (all > 0) {
        state_ = device.allocate(all);
        copied = {state_.get()};
        size_t at = 0;
        for (const auto& [name, bytes] : states) {
            buffers_[name] = std::make_unique<Part>(*state_, at, bytes);
            at += bytes;
        }
    }
    const int copies = model.options().state_snapshots;
    snapshots_ = std::make_unique<StateSnapshots>(device, copied, copies, context_);
    bytes_ += static_cast<int64_t>(all) * (1 + copies);
}

int ContextMemory::take() {
    if (taken_) return -1;
    taken_ = true;
    snapshots_->clear();
    return 0;
}

void ContextMemory::give_back(int) { taken_ = false; }

StateSnapshots& ContextMemory::snapshots(int) { return *snapshots_; }

Buffer* ContextMemory::find(const std::string& name) const {
    const auto found = buffers_.find(name);
    return found == buffers_.end() ? nullptr : found->second.get();
}

}  // namespace hetune
