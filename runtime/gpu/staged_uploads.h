// Uploads through pinned memory: while one piece is on its way, all cores copy the next one there,
// from a mapped file as often as not. Pieces take turns on two streams.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/gpu/gpu_handle.h"

namespace hetune {

class StagedUploads {
  public:
    static constexpr size_t kLeastBytes = 1 << 20;  // below, an upload of its own is as fast

    // Takes its pinned memory with the first upload. `context` outlives this.
    explicit StagedUploads(const GpuContext& context) : context_(context) {}

    // Ordered behind what is on `stream` by now, and before what comes there later. When it returns
    // `from` may be reused, though its last pieces are still on their way. Throws DeviceError.
    void upload(void* to, std::span<const std::byte> from, void* stream);

  private:
    struct Slot {
        Handle memory, sent;
        void* stream;
    };
    void open();

    const GpuContext& context_;
    Handle before_{nullptr, Release{}};
    std::vector<Handle> streams_, after_;
    std::vector<Slot> slots_;  // freed before the streams they use
    size_t next_ = 0;
};

}  // namespace hetune
