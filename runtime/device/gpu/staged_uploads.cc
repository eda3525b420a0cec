#include "runtime/device/gpu/staged_uploads.h"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <exception>

namespace hetune {
namespace {

constexpr size_t kPieceBytes = 2 << 20;  // stays in a core's cache while it is hashed
// Buffers whose pieces are made at the same time, each with a piece on its way and one in the
// making.
constexpr size_t kMakers = 16, kSlots = 2 * kMakers;
constexpr size_t kShare = 256 << 10;  // of a piece, for one thread to copy

// Threads that are woken for little cost more than they save.
void copy(std::byte* to, std::span<const std::byte> from, bool with_all_cores) {
    const auto shares = static_cast<int64_t>((from.size() + kShare - 1) / kShare);
#pragma omp parallel for schedule(dynamic, 1) if (with_all_cores)
    for (int64_t i = 0; i < shares; ++i) {
        const auto share =
            from.subspan(static_cast<size_t>(i) * kShare,
                         std::min(kShare, from.size() - static_cast<size_t>(i) * kShare));
        std::memcpy(to + static_cast<size_t>(i) * kShare, share.data(), share.size());
    }
}

}  // namespace

void StagedUploads::begin(void* stream) {
    const GpuApi& api = context_.api;
    if (slots_.empty()) open();
    gpu_check(api, api.event_record(before_.get(), stream), api.event_record.name);
    for (const Handle& copies : streams_)
        gpu_check(api, api.stream_wait_event(copies.get(), before_.get(), 0),
                  api.stream_wait_event.name);
}

void StagedUploads::end(void* stream) {
    const GpuApi& api = context_.api;
    for (size_t i = 0; i < streams_.size(); ++i) {
        gpu_check(api, api.event_record(after_[i].get(), streams_[i].get()), api.event_record.name);
        gpu_check(api, api.stream_wait_event(stream, after_[i].get(), 0),
                  api.stream_wait_event.name);
    }
}

std::byte* StagedUploads::room(const Slot& slot) const {
    const GpuApi& api = context_.api;
    gpu_check(api, api.event_synchronize(slot.sent.get()), api.event_synchronize.name);
    return static_cast<std::byte*>(slot.memory.get());
}

void StagedUploads::send(const Slot& slot, std::byte* to, size_t bytes) const {
    const GpuApi& api = context_.api;
    gpu_check(api, api.to_device(to, slot.memory.get(), bytes, slot.stream),
              fmt::format("{} of {} bytes", api.to_device.name, bytes));
    gpu_check(api, api.event_record(slot.sent.get(), slot.stream), api.event_record.name);
}

void StagedUploads::upload(void* to, std::span<const std::byte> from, void* stream) {
    begin(stream);
    for (size_t at = 0; at < from.size(); at += kPieceBytes) {
        const Slot& slot = slots_[next_++ % slots_.size()];
        const auto piece = from.subspan(at, std::min(kPieceBytes, from.size() - at));
        copy(room(slot), piece, from.size() > 2 * kPieceBytes);
        send(slot, static_cast<std::byte*>(to) + at, piece.size());
    }
    end(stream);
}

void StagedUploads::upload_all(std::span<const MadeUpload> uploads, void* stream) {
    begin(stream);
    std::exception_ptr error;
#pragma omp parallel num_threads(std::min <int>(omp_get_max_threads(), kMakers))
    {
        const auto first = static_cast<size_t>(omp_get_thread_num()) * 2;
        size_t next = 0;
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < uploads.size(); ++i) try {
                context_.make_current();
                const MadeUpload& upload = uploads[i];
                auto* const to = reinterpret_cast<std::byte*>(upload.to->address());
                for (size_t at = 0; at < upload.to->bytes(); at += kPieceBytes) {
                    const Slot& slot = slots_[first + next++ % 2];
                    const size_t bytes = std::min(kPieceBytes, upload.to->bytes() - at);
                    upload.make({room(slot), bytes});
                    send(slot, to + at, bytes);
                }
            } catch (...) {
#pragma omp critical(hetune_upload)
                error = std::current_exception();
            }
    }
    end(stream);
    if (error) std::rethrow_exception(error);
}

void StagedUploads::open() {
    const GpuApi& api = context_.api;
    const auto event = [&] {
        return made_handle(context_, api.event_create, api.event_destroy,
                           kEventBlockingSync | kEventDisableTiming);
    };
    before_ = event();
    for (size_t i = 0; i < 2; ++i) {
        streams_.push_back(
            made_handle(context_, api.stream_create, api.stream_destroy, kStreamNonBlocking));
        after_.push_back(event());
    }
    for (size_t i = 0; i < kSlots; ++i) {
        void* stream = streams_[i % streams_.size()].get();
        Handle memory = made_handle(context_, api.host_allocate, api.host_free, kPieceBytes,
                                    kHostAllocatePortable);
        slots_.push_back({std::move(memory), event(), stream});
        gpu_check(api, api.event_record(slots_.back().sent.get(), stream), api.event_record.name);
    }
}

}  // namespace hetune
