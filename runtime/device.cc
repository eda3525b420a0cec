#include "runtime/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace hetune {

std::unique_ptr<Graph> Device::capture_loop(Buffer&, const std::function<void()>&) {
    return nullptr;
}

std::unique_ptr<Buffer> Device::adopt(std::span<const std::byte> host) {
    std::unique_ptr<Buffer> buffer = allocate(host.size());
    upload(*buffer, 0, host);
    return buffer;
}

void Device::upload_all(std::span<const MadeUpload> uploads) {
    constexpr size_t kPieceBytes = 4 << 20;
    std::vector<std::byte> memory(kPieceBytes);
    for (const MadeUpload& upload : uploads)
        for (size_t at = 0; at < upload.to->bytes(); at += kPieceBytes) {
            const auto piece =
                std::span(memory).first(std::min(kPieceBytes, upload.to->bytes() - at));
            upload.make(piece);
            this->upload(*upload.to, at, piece);
        }
}

void Device::copy(Buffer& to, const Buffer& from) {
    std::vector<std::byte> host(from.bytes());
    download(host, from, 0);
    upload(to, 0, host);
}

std::vector<Backend>& backends() {
    static std::vector<Backend> list;
    return list;
}

RegisterBackend::RegisterBackend(Backend backend) {
    auto& list = backends();
    const auto at = std::find_if(list.begin(), list.end(), [&](const Backend& other) {
        return other.preference < backend.preference;
    });
    list.insert(at, std::move(backend));
}

std::unique_ptr<Device> open_device(std::string_view name) {
    std::string known;
    for (const Backend& backend : backends()) {
        known += (known.empty() ? "" : ", ") + backend.name;
        if (!name.empty() && backend.name != name) continue;
        const std::string why_not = backend.unavailable();
        if (why_not.empty()) return backend.open();
        if (!name.empty())
            throw DeviceError(fmt::format("backend '{}' cannot run here: {}", name, why_not));
    }
    if (name.empty()) throw DeviceError("no backend can run here; `hetune doctor` says why");
    throw DeviceError(fmt::format("unknown backend '{}'; known: {}", name, known));
}

}  // namespace hetune
