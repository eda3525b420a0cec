// Uploads through pinned memory: while one piece is on its way, all cores copy the next one there,
// or each makes pieces of a buffer of its own. Pieces take turns on two streams.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/device/device.h"
#include "runtime/device/gpu/gpu_handle.h"

namespace hetune {

class StagedUploads {
  public:
    static constexpr size_t kLeastBytes = 1 << 20;  // below, an upload of its own is as fast

    // Takes its pinned memory with the first upload. `context` outlives this.
    explicit StagedUploads(const GpuContext& context) : context_(context) {}

    // Ordered behind what is on `stream` by now, and before what comes there later. When it returns
    // `from` may be reused, though its last pieces are still on their way. Throws DeviceError.
    void upload(void* to, std::span<const std::byte> from, void* stream);

    // Likewise ordered. Throws DeviceError, or what a buffer's maker throws.
    void upload_all(std::span<const MadeUpload> uploads, void* stream);

  private:
    struct Slot {
        Handle memory, sent;
        void* stream;
    };
    void open();
    // What comes later on the streams of pieces waits for what is on `stream` by now; the other way
    // around.
    void begin(void* stream);
    void end(void* stream);
    // The memory of a slot that is not on its way any more.
    std::byte* room(const Slot& slot) const;
    void send(const Slot& slot, std::byte* to, size_t bytes) const;

    const GpuContext& context_;
    Handle before_{nullptr, Release{}};
    std::vector<Handle> streams_, after_;
    std::vector<Slot> slots_;  // freed before the streams they use
    size_t next_ = 0;
};

}  // namespace hetune
