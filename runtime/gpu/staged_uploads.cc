#include "runtime/gpu/staged_uploads.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace hetune {
namespace {

constexpr size_t kPieceBytes = 16 << 20;
constexpr size_t kSlots = 4;

void copy(std::byte* to, std::span<const std::byte> from) {
    constexpr size_t kShare = 1 << 20;
    const auto shares = static_cast<int64_t>((from.size() + kShare - 1) / kShare);
#pragma omp parallel for schedule(dynamic, 1)
    for (int64_t i = 0; i < shares; ++i) {
        const auto share = from.subspan(
            static_cast<size_t>(i) * kShare,
            std::min(kShare, from.size() - static_cast<size_t>(i) * kShare));
        std::memcpy(to + static_cast<size_t>(i) * kShare, share.data(), share.size());
    }
}

}  // namespace

void StagedUploads::upload(void* to, std::span<const std::byte> from, void* stream) {
    const GpuApi& api = context_.api;
    if (slots_.empty()) open();
    gpu_check(api, api.event_record(before_.get(), stream), api.event_record.name);
    for (const Handle& copies : streams_)
        gpu_check(api, api.stream_wait_event(copies.get(), before_.get(), 0),
                  api.stream_wait_event.name);
    for (size_t at = 0; at < from.size(); at += kPieceBytes) {
        Slot& slot = slots_[next_++ % slots_.size()];
        gpu_check(api, api.event_synchronize(slot.sent.get()), api.event_synchronize.name);
        const auto piece = from.subspan(at, std::min(kPieceBytes, from.size() - at));
        copy(static_cast<std::byte*>(slot.memory.get()), piece);
        gpu_check(api,
                  api.to_device(static_cast<std::byte*>(to) + at, slot.memory.get(),
                                piece.size(), slot.stream),
                  fmt::format("{} of {} bytes", api.to_device.name, piece.size()));
        gpu_check(api, api.event_record(slot.sent.get(), slot.stream), api.event_record.name);
    }
    for (size_t i = 0; i < streams_.size(); ++i) {
        gpu_check(api, api.event_record(after_[i].get(), streams_[i].get()),
                  api.event_record.name);
        gpu_check(api, api.stream_wait_event(stream, after_[i].get(), 0),
                  api.stream_wait_event.name);
    }
}

void StagedUploads::open() {
    const GpuApi& api = context_.api;
    const auto event = [&] {
        return made_handle(context_, api.event_create, api.event_destroy,
                           kEventBlockingSync | kEventDisableTiming);
    };
    before_ = event();
    for (size_t i = 0; i < 2; ++i) {
        streams_.push_back(made_handle(context_, api.stream_create, api.stream_destroy,
                                       kStreamNonBlocking));
        after_.push_back(event());
    }
    for (size_t i = 0; i < kSlots; ++i) {
        void* stream = streams_[i % streams_.size()].get();
        Handle memory = made_handle(context_, api.host_allocate, api.host_free, kPieceBytes,
                                    kHostAllocatePortable);
        slots_.push_back({std::move(memory), event(), stream});
        gpu_check(api, api.event_record(slots_.back().sent.get(), stream),
                  api.event_record.name);
    }
}

}  // namespace hetune
