// What the HIP double knows, and how each of its functions begins.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fake_memory.h"
#include "runtime/device/cpu_kernel.h"
#include "runtime/device/lane_fibers.h"

namespace hetune::fake {

// hipError_t of hip/hip_runtime_api.h
enum Status {
    kSuccess = 0,
    kInvalidValue = 1,
    kOutOfMemory = 2,
    kInvalidConfiguration = 9,
    kNoDevice = 100,
    kInvalidDevice = 101,
    kNoBinaryForGpu = 209,
    kInvalidHandle = 400,
    kNotFound = 500,
    kIllegalAddress = 700,
    kLaunchFailure = 719,
    kStreamCaptureInvalidated = 901,
    kUnknown = 999,
};

inline std::string setting(const char* name, const char* fallback) {
    const char* value = std::getenv(name);
    return value == nullptr ? fallback : value;
}
inline int number(const char* name, const char* fallback) {
    return std::stoi(setting(name, fallback));
}

using Work = std::function<Status()>;

struct Stream {
    std::deque<Work> pending;
    bool busy = false;         // within one of its works
    Status failed = kSuccess;  // sticky: a GPU that faulted stays so
    bool capturing = false;
    std::vector<Work> captured;
};
struct FakeModule {
    explicit FakeModule(std::span<const std::byte> object) : kernel(object, "module") {}
    CpuKernel kernel;
};
struct FakeGraph {
    std::vector<Work> works;
};
struct Executable {
    std::vector<Work> works;
};
struct Event {
    bool done = false;
    int recorded = 0, reached = 0;  // how often
    std::chrono::steady_clock::time_point at;
};

// Objects of one kind that the caller holds.
template <class T>
class Objects {
  public:
    T* find(void* handle) const {
        const auto at = live_.find(handle);
        return at == live_.end() ? nullptr : at->second.get();
    }
    T* add(std::unique_ptr<T> object) {
        T* handle = object.get();
        live_.emplace(handle, std::move(object));
        return handle;
    }
    bool remove(void* handle) { return live_.erase(handle) == 1; }
    void each(const std::function<void(T&)>& visit) {
        for (auto& [handle, object] : live_) visit(*object);
    }
    int size() const { return static_cast<int>(live_.size()); }

  private:
    std::map<void*, std::unique_ptr<T>> live_;
};

struct Fake {
    std::mutex mutex;
    int device = 0;  // the current one
    FakeMemory memory;
    Objects<Stream> streams;
    Objects<FakeModule> modules;
    Objects<FakeGraph> graphs;
    Objects<Executable> executables;
    Objects<Event> events;
    std::vector<std::string> misuse;
    std::string misuse_text;
    std::string fail_setting;
    int fail_after = 0;  // calls until the named one fails
    LaneFibers lanes{2};

    Status blame(Status status, std::string what) {
        misuse.push_back(std::move(what));
        return status;
    }
    Status blame_handle(const char* call) {
        return blame(kInvalidHandle, fmt::format("{} of a dead handle", call));
    }
    void run_next(Stream& stream) {
        const Work work = std::move(stream.pending.front());
        stream.pending.pop_front();
        stream.busy = true;
        if (stream.failed == kSuccess) stream.failed = work();
        stream.busy = false;
    }
    Status drain(Stream& stream) {
        while (!stream.pending.empty()) run_next(stream);
        return stream.failed;
    }
    // Runs works of streams that are not within one; false when there are none.
    bool run_another() {
        Stream* next = nullptr;
        streams.each([&](Stream& stream) {
            if (!stream.busy && !stream.pending.empty()) next = &stream;
        });
        if (next != nullptr) run_next(*next);
        return next != nullptr;
    }
    // The first failure.
    Status drain_all() {
        Status first = kSuccess;
        streams.each([&](Stream& stream) {
            const Status status = drain(stream);
            if (first == kSuccess) first = status;
        });
        return first;
    }
};

inline Fake& fake_hip() {
    static Fake fake;
    return fake;
}

// Whether HETUNE_FAKE_HIP_FAIL wants this call to fail.
inline bool injected(Fake& fake, const char* call) {
    const std::string now = setting("HETUNE_FAKE_HIP_FAIL", "");
    const size_t colon = now.find(':');
    if (now != fake.fail_setting) {
        fake.fail_setting = now;
        fake.fail_after = colon == std::string::npos ? 1 : std::stoi(now.substr(colon + 1));
    }
    if (now.substr(0, colon) != call) return false;
    return --fake.fail_after <= 0;
}

// Every entry point: one at a time, nothing thrown through the C boundary, faults injected.
template <class Body>
int enter(const char* call, Body body) {
    Fake& fake = fake_hip();
    const std::lock_guard lock(fake.mutex);
    try {
        return injected(fake, call) ? kUnknown : body(fake);
    } catch (const std::exception& error) {
        return fake.blame(kUnknown, fmt::format("{}: {}", call, error.what()));
    }
}

inline Status enqueue(Fake& fake, void* handle, const char* call, bool capturable, Work work) {
    Stream* stream = fake.streams.find(handle);
    if (stream == nullptr) return fake.blame_handle(call);
    if (stream->failed != kSuccess) return stream->failed;
    if (stream->capturing && !capturable)
        return fake.blame(kStreamCaptureInvalidated, fmt::format("{} while capturing", call));
    if (stream->capturing)
        stream->captured.push_back(std::move(work));
    else
        stream->pending.push_back(std::move(work));
    return kSuccess;
}

inline Status check_memory(Fake& fake, const char* call, const void* address, size_t bytes) {
    const std::string why = fake.memory.why_not(address, bytes);
    if (why.empty()) return kSuccess;
    return fake.blame(kInvalidValue, fmt::format("{}: {}", call, why));
}

}  // namespace hetune::fake
