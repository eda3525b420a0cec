#include "fake_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace hetune::fake {
namespace {

constexpr std::byte kFence{0xa5};  // in red zones
constexpr std::byte kFreed{0xdd};

bool all_fence(const std::byte* from, const std::byte* to) {
    return std::all_of(from, to, [](std::byte b) { return b == kFence; });
}

}  // namespace

void* FakeMemory::allocate(size_t bytes, size_t limit) {
    if (bytes > limit || used_ > limit - bytes) return nullptr;
    const size_t all = bytes + 3 * kRedZone;  // one of them for alignment
    Block block{.bytes = bytes, .storage = std::make_unique_for_overwrite<std::byte[]>(all)};
    std::fill_n(block.storage.get(), all, kFence);
    const auto raw = reinterpret_cast<uint64_t>(block.storage.get());
    const uint64_t address = (raw + 2 * kRedZone - 1) / kRedZone * kRedZone;
    blocks_.insert_or_assign(address, std::move(block));
    used_ += bytes;
    return reinterpret_cast<void*>(address);
}

void* FakeMemory::allocate_host(size_t bytes) {
    const size_t used = used_;
    void* address = allocate(bytes, SIZE_MAX - used);
    used_ = used;
    blocks_.at(reinterpret_cast<uint64_t>(address)).pinned = true;
    return address;
}

bool FakeMemory::free(void* address, std::vector<std::string>& misuse) {
    const auto at = blocks_.find(reinterpret_cast<uint64_t>(address));
    if (at == blocks_.end() || !at->second.live || at->second.host) return false;
    Block& block = at->second;
    auto* memory = static_cast<std::byte*>(address);
    const std::byte* storage_end = block.storage.get() + block.bytes + 3 * kRedZone;
    if (!all_fence(block.storage.get(), memory) || !all_fence(memory + block.bytes, storage_end))
        misuse.push_back(fmt::format("write outside of a buffer of {} bytes", block.bytes));
    std::fill_n(memory, block.bytes, kFreed);
    block.live = false;
    if (!block.pinned) used_ -= block.bytes;
    return true;
}

void FakeMemory::add_host(void* address, size_t bytes) {
    blocks_.insert_or_assign(reinterpret_cast<uint64_t>(address),
                             Block{.bytes = bytes, .host = true});
}

bool FakeMemory::remove_host(void* address) {
    const auto at = blocks_.find(reinterpret_cast<uint64_t>(address));
    if (at == blocks_.end() || !at->second.host) return false;
    blocks_.erase(at);
    return true;
}

const std::pair<const uint64_t, FakeMemory::Block>* FakeMemory::find(uint64_t address) const {
    auto at = blocks_.upper_bound(address);
    if (at == blocks_.begin()) return nullptr;
    --at;
    return address - at->first < std::max<size_t>(at->second.bytes, 1) ? &*at : nullptr;
}

std::string FakeMemory::why_not(const void* address, size_t bytes) const {
    const auto at = reinterpret_cast<uint64_t>(address);
    const auto* found = find(at);
    if (found == nullptr) return "access to memory that was never allocated";
    if (!found->second.live) return "use after free";
    if (bytes > found->second.bytes - (at - found->first))
        return fmt::format("access of {} bytes at {} in a buffer of {}", bytes, at - found->first,
                           found->second.bytes);
    return {};
}

bool FakeMemory::is_stale(uint64_t address) const {
    const auto* found = find(address);
    return found != nullptr && !found->second.live;
}

int FakeMemory::live() const {
    return static_cast<int>(
        std::ranges::count_if(blocks_, [](const auto& entry) { return entry.second.live; }));
}

}  // namespace hetune::fake
