// Device memory of one argument of a kernel that is tried out, with a canary on either side.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "runtime/device/device.h"

namespace hetune {

class GuardedBuffer {
  public:
    // `device` outlives this.
    GuardedBuffer(Device& device, size_t bytes);

    // Address of the first byte behind the canary in front.
    uint64_t address() const { return buffer_->address() + kGuard; }
    void fill(uint8_t value) { device_.fill(*buffer_, kGuard, bytes_, value); }
    void upload(size_t offset, std::span<const std::byte> from) {
        device_.upload(*buffer_, kGuard + offset, from);
    }
    void download(std::span<std::byte> to, size_t offset) const {
        device_.download(to, *buffer_, kGuard + offset);
    }
    // Which canary was written to: "written before the buffer", "written behind the buffer"; empty
    // while both are whole.
    std::string damage() const;

  private:
    static constexpr size_t kGuard = 256;  // bytes of a canary; keeps the buffer's alignment

    Device& device_;
    size_t bytes_;
    std::unique_ptr<Buffer> buffer_;
};

}  // namespace hetune
