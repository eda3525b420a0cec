#include "runtime/trial/guarded_buffer.h"

#include <algorithm>

namespace hetune {
namespace {

constexpr std::byte kCanary{0xc5};

}  // namespace

GuardedBuffer::GuardedBuffer(Device& device, size_t bytes)
    : device_(device), bytes_(bytes), buffer_(device.allocate(bytes + 2 * kGuard)) {
    device.fill(*buffer_, 0, kGuard, static_cast<uint8_t>(kCanary));
    device.fill(*buffer_, kGuard + bytes, kGuard, static_cast<uint8_t>(kCanary));
}

std::string GuardedBuffer::damage() const {
    const auto whole = [&](size_t at) {
        std::byte canary[kGuard];
        device_.download(canary, *buffer_, at);
        return std::ranges::all_of(canary, [](std::byte b) { return b == kCanary; });
    };
    if (!whole(0)) return "written before the buffer";
    if (!whole(kGuard + bytes_)) return "written behind the buffer";
    return {};
}

}  // namespace hetune
