#include "runtime/device/device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "runtime/device/readable_bytes.h"

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

void Device::copy(const Place& to, const Place& from, size_t bytes) {
    std::vector<std::byte> host(bytes);
    download(host, from.buffer, from.offset);
    upload(to.buffer, to.offset, host);
}

std::string Backend::unavailable() const {
    try {
        std::string why;
        for (const FoundDevice& device : devices()) {
            if (device.unusable.empty()) return {};
            if (why.empty()) why = device.unusable;
        }
        return why;
    } catch (const DeviceError& error) {
        return error.what();
    }
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

namespace {

bool is_better(const ListedDevice& a, const ListedDevice& b) {
    const auto rank = [](const ListedDevice& d) {
        return std::tuple(d.backend->preference > 0, !d.found.integrated, d.backend->preference,
                          d.found.memory_bytes);
    };
    return rank(a) > rank(b);
}

// One line for each device and backend that cannot be used.
std::vector<std::string> reasons_of(const DeviceList& list) {
    std::vector<std::string> reasons = list.missing;
    for (const ListedDevice& device : list.devices)
        if (!device.found.unusable.empty()) reasons.push_back(device.found.unusable);
    return reasons;
}

std::unique_ptr<Device> open_listed(const ListedDevice& device, const DeviceWish& wish) {
    if (wish.threads == 0) return device.backend->open(device.found.ordinal);
    if (!device.backend->open_with_threads)
        throw OptionError(
            fmt::format("ModelOptions::threads is {}, but the kernels run on {} (backend '{}'): "
                        "leave it out, or "
                        "take ModelOptions::backend = \"cpu\"",
                        wish.threads, device.found.name, device.backend->name));
    return device.backend->open_with_threads(wish.threads);
}

std::unique_ptr<Device> open_at(const DeviceWish& wish) {
    const int index = wish.index;
    const std::string& backend = wish.backend;
    const DeviceList list = list_devices(backend);
    for (const ListedDevice& device : list.devices) {
        if (device.index != index) continue;
        if (!device.found.unusable.empty()) throw DeviceError(device.found.unusable);
        return open_listed(device, wish);
    }
    const auto count =
        std::ranges::count_if(list.devices, [](const auto& device) { return device.index >= 0; });
    throw OptionError(
        fmt::format("ModelOptions::device is {}, but {} {}: `hetune devices` lists all", index,
                    count == 1 ? "there is 1 GPU" : fmt::format("there are {} GPUs", count),
                    backend.empty() ? "here" : fmt::format("of the backend '{}'", backend)));
}

}  // namespace

DeviceList list_devices(std::string_view name) {
    DeviceList list;
    std::string known;
    bool any = false;
    int next = 0;
    for (const Backend& backend : backends()) {
        known += (known.empty() ? "" : ", ") + backend.name;
        const bool asked = name.empty() ? backend.preference >= 0 : backend.name == name;
        any |= asked;
        // The indices of this backend's devices depend on those before it.
        if (!asked && backend.preference <= 0) continue;
        try {
            for (FoundDevice& found : backend.devices()) {
                const int index = backend.preference > 0 ? next++ : -1;
                if (asked) list.devices.push_back({index, &backend, std::move(found)});
            }
        } catch (const DeviceError& error) {
            const std::string prefix = backend.name + ": ", text = error.what();
            if (asked) list.missing.push_back(text.starts_with(prefix) ? text : prefix + text);
        }
    }
    if (!any)
        throw OptionError(
            fmt::format("ModelOptions::backend is '{}'; known: {}, reference", name, known));
    return list;
}

std::unique_ptr<Device> open_device(const DeviceWish& wish,
                                    const std::function<void(const std::string& line)>& warn) {
    if (wish.index >= 0) return open_at(wish);
    DeviceList list = list_devices(wish.backend);
    std::vector<std::string> reasons = reasons_of(list);
    std::ranges::stable_sort(list.devices, is_better);
    for (const ListedDevice& device : list.devices) {
        if (!device.found.unusable.empty()) continue;
        const bool for_want_of_a_gpu = wish.backend.empty() && device.backend->preference <= 0;
        if (for_want_of_a_gpu && wish.model_bytes > kLargestOnCpu)
            throw DeviceError(
                fmt::format("no GPU can be used: {}. A model of {} is slow on the CPU; with "
                            "ModelOptions::backend = \"cpu\" it runs there all the same",
                            fmt::join(reasons, "; "), readable_bytes(wish.model_bytes)));
        try {
            auto opened = open_listed(device, wish);
            if (for_want_of_a_gpu && warn)
                warn(
                    fmt::format("no GPU is used, the model runs on the CPU: {} "
                                "(ModelOptions::backend = \"cpu\" is silent)",
                                fmt::join(reasons, "; ")));
            return opened;
        } catch (const DeviceError& error) {
            reasons.emplace_back(error.what());
        }
    }
    throw DeviceError(fmt::format("{}: {}",
                                  wish.backend.empty()
                                      ? "no backend can run here"
                                      : fmt::format("backend '{}' cannot run here", wish.backend),
                                  fmt::join(reasons, "; ")));
}

std::unique_ptr<Device> open_device(std::string_view backend) {
    return open_device({.backend = std::string(backend)}, {});
}

}  // namespace hetune
