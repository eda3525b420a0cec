// The HIP functions that runtime/device/gpu/hip_api.cc calls, with kernels of the CPU target.
#include "fake_hip.h"

#include <elf.h>
#include <fmt/ranges.h>

#include <cstring>

#include "fake_state.h"
#include "runtime/device/device.h"
#include "runtime/device/gpu/hip_properties.h"

namespace {

using namespace hetune;
using namespace hetune::fake;

// What lies in memory from `image` on, as far as its section headers say.
std::span<const std::byte> elf_at(const void* image) {
    Elf64_Ehdr header;
    std::memcpy(&header, image, sizeof header);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != EM_X86_64)
        return {};
    return {static_cast<const std::byte*>(image),
            header.e_shoff + size_t{header.e_shentsize} * header.e_shnum};
}

struct PackedArgs {
    const void* data = nullptr;
    size_t bytes = 0;
};
PackedArgs packed(void** extra) {
    PackedArgs args;
    for (; *extra != reinterpret_cast<void*>(3); extra += 2) {
        if (*extra == reinterpret_cast<void*>(1)) args.data = extra[1];
        if (*extra == reinterpret_cast<void*>(2)) args.bytes = *static_cast<size_t*>(extra[1]);
    }
    return args;
}

Status run(Fake& fake, FakeModule* module, const LaunchShape& shape,
           const std::vector<std::byte>& args) {
    if (fake.modules.find(module) == nullptr)
        return fake.blame(kLaunchFailure, "launch of an unloaded module");
    for (size_t at = 0; at + 8 <= args.size(); at += 8) {
        uint64_t value;
        std::memcpy(&value, args.data() + at, sizeof value);
        if (fake.memory.is_stale(value))
            return fake.blame(kIllegalAddress, "launch: use after free in an argument");
    }
    try {
        fake.lanes.run(module->kernel.entry(), shape, args);
        return kSuccess;
    } catch (const DeviceError& error) {
        return fake.blame(kLaunchFailure, error.what());
    }
}

// Of a list "gfx1103,gfx1100" the device's own entry; the last one holds for all behind it.
std::string entry(const std::string& list, int device) {
    size_t at = 0;
    for (; device > 0; --device) {
        const size_t comma = list.find(',', at);
        if (comma == std::string::npos) break;
        at = comma + 1;
    }
    return list.substr(at, list.find(',', at) - at);
}
size_t memory_of(int device) {
    return std::stoull(entry(setting("HETUNE_FAKE_HIP_MEMORY", "1073741824"), device));
}

int properties(const char* call, const HipPropertyLayout& layout, void* to, int device) {
    return enter(call, [&](Fake&) {
        if (device < 0 || device >= number("HETUNE_FAKE_HIP_DEVICES", "1")) return kInvalidDevice;
        auto* bytes = static_cast<char*>(to);
        std::memset(bytes, 0, layout.bytes);
        const auto put = [&](size_t at, const void* value, size_t n) {
            std::memcpy(bytes + at, value, n);
        };
        const std::string arch = entry(setting("HETUNE_FAKE_HIP_ARCH", "gfx1100"), device);
        const size_t memory = memory_of(device);
        const int units = 96;
        const int integrated = std::stoi(entry(setting("HETUNE_FAKE_HIP_INTEGRATED", "0"), device));
        put(layout.name, "HIP double", 11);
        put(layout.total_memory, &memory, sizeof memory);
        put(layout.compute_units, &units, sizeof units);
        put(layout.integrated, &integrated, sizeof integrated);
        put(layout.arch, arch.c_str(), arch.size() + 1);
        return kSuccess;
    });
}

}  // namespace

#define HIP_EXPORT extern "C" __attribute__((visibility("default")))

HIP_EXPORT const char* hipDoubleMisuse() {
    Fake& fake = fake_hip();
    fake.misuse_text = fmt::format("{}", fmt::join(std::exchange(fake.misuse, {}), "\n"));
    return fake.misuse_text.c_str();
}
HIP_EXPORT int hipDoubleLive() {
    const Fake& fake = fake_hip();
    return fake.memory.live() + fake.streams.size() + fake.modules.size() + fake.graphs.size() +
           fake.executables.size() + fake.events.size();
}

HIP_EXPORT const char* hipGetErrorName(int status) {
    switch (status) {
        case kSuccess:
            return "hipSuccess";
        case kInvalidValue:
            return "hipErrorInvalidValue";
        case kOutOfMemory:
            return "hipErrorOutOfMemory";
        case kInvalidConfiguration:
            return "hipErrorInvalidConfiguration";
        case kNoDevice:
            return "hipErrorNoDevice";
        case kNoBinaryForGpu:
            return "hipErrorNoBinaryForGpu";
        case kInvalidHandle:
            return "hipErrorInvalidHandle";
        case kIllegalAddress:
            return "hipErrorIllegalAddress";
        case kLaunchFailure:
            return "hipErrorLaunchFailure";
        default:
            return "hipErrorUnknown";
    }
}
HIP_EXPORT const char* hipGetErrorString(int status) {
    return status == kOutOfMemory ? "out of memory" : "told by the double";
}

HIP_EXPORT int hipInit(unsigned) {
    return enter("hipInit", [](Fake&) {
        return number("HETUNE_FAKE_HIP_DEVICES", "1") == 0 ? kNoDevice : kSuccess;
    });
}
HIP_EXPORT int hipGetDeviceCount(int* count) {
    return enter("hipGetDeviceCount", [&](Fake&) {
        *count = number("HETUNE_FAKE_HIP_DEVICES", "1");
        return kSuccess;
    });
}
HIP_EXPORT int hipSetDevice(int device) {
    return enter("hipSetDevice", [&](Fake& fake) {
        if (device >= number("HETUNE_FAKE_HIP_DEVICES", "1")) return kInvalidDevice;
        if (entry(setting("HETUNE_FAKE_HIP_BROKEN", "0"), device) == "1") return kUnknown;
        fake.device = device;
        return kSuccess;
    });
}
HIP_EXPORT int hipDriverGetVersion(int* version) {
    return enter("hipDriverGetVersion", [&](Fake&) {
        *version = 60241133;
        return kSuccess;
    });
}
// The double of HIP 5 has the old struct only.
#ifndef HETUNE_FAKE_HIP_5
HIP_EXPORT int hipGetDevicePropertiesR0600(void* to, int device) {
    return properties("hipGetDevicePropertiesR0600", kHip6Properties, to, device);
}
#endif
HIP_EXPORT int hipGetDeviceProperties(void* to, int device) {
    return properties("hipGetDeviceProperties", kHip5Properties, to, device);
}

HIP_EXPORT int hipMemGetInfo(size_t* free, size_t* total) {
    return enter("hipMemGetInfo", [&](Fake& fake) {
        *total = memory_of(fake.device);
        *free = *total - fake.memory.used();
        return kSuccess;
    });
}
HIP_EXPORT int hipMalloc(void** address, size_t bytes) {
    return enter("hipMalloc", [&](Fake& fake) {
        *address = fake.memory.allocate(bytes, memory_of(fake.device));
        return *address == nullptr ? kOutOfMemory : kSuccess;
    });
}
HIP_EXPORT int hipFree(void* address) {
    return enter("hipFree", [&](Fake& fake) {
        fake.drain_all();  // as the real one, which waits for the device
        if (fake.memory.free(address, fake.misuse)) return kSuccess;
        return fake.blame(kInvalidValue, "hipFree of what is not allocated");
    });
}
HIP_EXPORT int hipHostRegister(void* host, size_t bytes, unsigned) {
    return enter("hipHostRegister", [&](Fake& fake) {
        fake.memory.add_host(host, bytes);
        return kSuccess;
    });
}
HIP_EXPORT int hipHostUnregister(void* host) {
    return enter("hipHostUnregister", [&](Fake& fake) {
        if (fake.memory.remove_host(host)) return kSuccess;
        return fake.blame(kInvalidValue, "hipHostUnregister of what is not registered");
    });
}
HIP_EXPORT int hipHostGetDevicePointer(void** address, void* host, unsigned) {
    return enter("hipHostGetDevicePointer", [&](Fake& fake) {
        *address = host;
        return check_memory(fake, "hipHostGetDevicePointer", host, 1);
    });
}

HIP_EXPORT int hipHostMalloc(void** host, size_t bytes, unsigned) {
    return enter("hipHostMalloc", [&](Fake& fake) {
        *host = fake.memory.allocate_host(bytes);
        return kSuccess;
    });
}
HIP_EXPORT int hipHostFree(void* host) {
    return enter("hipHostFree", [&](Fake& fake) {
        fake.drain_all();
        if (fake.memory.free(host, fake.misuse)) return kSuccess;
        return fake.blame(kInvalidValue, "hipHostFree of what is not allocated");
    });
}

HIP_EXPORT int hipMemcpyHtoDAsync(void* to, const void* from, size_t bytes, void* stream) {
    return enter("hipMemcpyHtoDAsync", [&](Fake& fake) {
        if (const Status wrong = check_memory(fake, "hipMemcpyHtoDAsync", to, bytes)) return wrong;
        return enqueue(fake, stream, "hipMemcpyHtoDAsync", false, [=] {
            std::memcpy(to, from, bytes);
            return kSuccess;
        });
    });
}
HIP_EXPORT int hipMemcpyDtoHAsync(void* to, const void* from, size_t bytes, void* stream) {
    return enter("hipMemcpyDtoHAsync", [&](Fake& fake) {
        if (const Status wrong = check_memory(fake, "hipMemcpyDtoHAsync", from, bytes))
            return wrong;
        return enqueue(fake, stream, "hipMemcpyDtoHAsync", false, [=] {
            std::memcpy(to, from, bytes);
            return kSuccess;
        });
    });
}
HIP_EXPORT int hipMemcpyDtoDAsync(void* to, void* from, size_t bytes, void* stream) {
    return enter("hipMemcpyDtoDAsync", [&](Fake& fake) {
        if (const Status wrong = check_memory(fake, "hipMemcpyDtoDAsync", to, bytes)) return wrong;
        if (const Status wrong = check_memory(fake, "hipMemcpyDtoDAsync", from, bytes))
            return wrong;
        return enqueue(fake, stream, "hipMemcpyDtoDAsync", false, [=] {
            std::memcpy(to, from, bytes);
            return kSuccess;
        });
    });
}
HIP_EXPORT int hipMemsetD8Async(void* to, unsigned char value, size_t bytes, void* stream) {
    return enter("hipMemsetD8Async", [&](Fake& fake) {
        if (const Status wrong = check_memory(fake, "hipMemsetD8Async", to, bytes)) return wrong;
        return enqueue(fake, stream, "hipMemsetD8Async", false, [=] {
            std::memset(to, value, bytes);
            return kSuccess;
        });
    });
}

HIP_EXPORT int hipStreamCreateWithFlags(void** stream, unsigned) {
    return enter("hipStreamCreateWithFlags", [&](Fake& fake) {
        *stream = fake.streams.add(std::make_unique<Stream>());
        return kSuccess;
    });
}
HIP_EXPORT int hipStreamDestroy(void* stream) {
    return enter("hipStreamDestroy", [&](Fake& fake) {
        if (Stream* live = fake.streams.find(stream)) fake.drain(*live);
        return fake.streams.remove(stream) ? kSuccess : fake.blame_handle("hipStreamDestroy");
    });
}
HIP_EXPORT int hipStreamSynchronize(void* stream) {
    return enter("hipStreamSynchronize", [&](Fake& fake) {
        Stream* live = fake.streams.find(stream);
        return live != nullptr ? fake.drain(*live) : fake.blame_handle("hipStreamSynchronize");
    });
}
// Works of other streams run until the event has been reached as it was recorded by now.
HIP_EXPORT int hipStreamWaitEvent(void* stream, void* event, unsigned) {
    return enter("hipStreamWaitEvent", [&](Fake& fake) {
        Event* live = fake.events.find(event);
        if (live == nullptr) return fake.blame_handle("hipStreamWaitEvent");
        return enqueue(fake, stream, "hipStreamWaitEvent", false,
                       [&fake, live, turn = live->recorded] {
                           while (live->reached < turn)
                               if (!fake.run_another())
                                   return fake.blame(kLaunchFailure, "streams wait for each other");
                           return kSuccess;
                       });
    });
}

HIP_EXPORT int hipModuleLoadData(void** module, const void* image) {
    return enter("hipModuleLoadData", [&](Fake& fake) {
        const auto object = elf_at(image);
        if (object.empty()) return kNoBinaryForGpu;
        *module = fake.modules.add(std::make_unique<FakeModule>(object));
        return kSuccess;
    });
}
HIP_EXPORT int hipModuleUnload(void* module) {
    return enter("hipModuleUnload", [&](Fake& fake) {
        fake.drain_all();
        return fake.modules.remove(module) ? kSuccess : fake.blame_handle("hipModuleUnload");
    });
}
HIP_EXPORT int hipModuleGetFunction(void** function, void* module, const char* name) {
    return enter("hipModuleGetFunction", [&](Fake& fake) {
        if (fake.modules.find(module) == nullptr) return fake.blame_handle("hipModuleGetFunction");
        *function = module;  // it has one
        return *name == '\0' ? kNotFound : kSuccess;
    });
}
HIP_EXPORT int hipModuleLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz,
                                     unsigned tx, unsigned ty, unsigned tz, unsigned, void* stream,
                                     void**, void** extra) {
    return enter("hipModuleLaunchKernel", [&](Fake& fake) {
        FakeModule* module = fake.modules.find(function);
        if (module == nullptr)
            return fake.blame(kInvalidHandle, "launch of a module that is not loaded");
        if (gx == 0 || gy == 0 || gz == 0 || tx == 0 || tx > 1024 || ty != 1 || tz != 1)
            return kInvalidConfiguration;
        const PackedArgs args = packed(extra);
        const auto* bytes = static_cast<const std::byte*>(args.data);
        return enqueue(fake, stream, "hipModuleLaunchKernel", true,
                       [&fake, module, shape = LaunchShape{.groups = {gx, gy, gz}, .threads = tx},
                        copy = std::vector(bytes, bytes + args.bytes)] {
                           return run(fake, module, shape, copy);
                       });
    });
}

HIP_EXPORT int hipEventCreateWithFlags(void** event, unsigned) {
    return enter("hipEventCreateWithFlags", [&](Fake& fake) {
        *event = fake.events.add(std::make_unique<Event>());
        return kSuccess;
    });
}
HIP_EXPORT int hipEventDestroy(void* event) {
    return enter("hipEventDestroy", [&](Fake& fake) {
        fake.drain_all();
        return fake.events.remove(event) ? kSuccess : fake.blame_handle("hipEventDestroy");
    });
}
HIP_EXPORT int hipEventRecord(void* event, void* stream) {
    return enter("hipEventRecord", [&](Fake& fake) {
        Event* live = fake.events.find(event);
        if (live == nullptr) return fake.blame_handle("hipEventRecord");
        live->done = false;
        ++live->recorded;
        return enqueue(fake, stream, "hipEventRecord", false, [live] {
            live->done = ++live->reached == live->recorded;
            live->at = std::chrono::steady_clock::now();
            return kSuccess;
        });
    });
}
HIP_EXPORT int hipEventSynchronize(void* event) {
    return enter("hipEventSynchronize", [&](Fake& fake) {
        const Status status = fake.drain_all();
        const Event* live = fake.events.find(event);
        if (live == nullptr) return fake.blame_handle("hipEventSynchronize");
        return live->done ? kSuccess : status != kSuccess ? status : kLaunchFailure;
    });
}
HIP_EXPORT int hipEventElapsedTime(float* ms, void* begin, void* end) {
    return enter("hipEventElapsedTime", [&](Fake& fake) {
        const Event *first = fake.events.find(begin), *last = fake.events.find(end);
        if (first == nullptr || last == nullptr || !first->done || !last->done)
            return fake.blame(kInvalidHandle, "hipEventElapsedTime of events not reached");
        *ms = std::chrono::duration<float, std::milli>(last->at - first->at).count();
        return kSuccess;
    });
}

HIP_EXPORT int hipStreamBeginCapture(void* stream, int) {
    return enter("hipStreamBeginCapture", [&](Fake& fake) {
        Stream* live = fake.streams.find(stream);
        if (live == nullptr || live->capturing) return fake.blame_handle("hipStreamBeginCapture");
        live->capturing = true;
        return kSuccess;
    });
}
HIP_EXPORT int hipStreamEndCapture(void* stream, void** graph) {
    return enter("hipStreamEndCapture", [&](Fake& fake) {
        Stream* live = fake.streams.find(stream);
        if (live == nullptr || !live->capturing) return fake.blame_handle("hipStreamEndCapture");
        live->capturing = false;
        *graph = fake.graphs.add(
            std::make_unique<FakeGraph>(FakeGraph{std::exchange(live->captured, {})}));
        return kSuccess;
    });
}
HIP_EXPORT int hipGraphDestroy(void* graph) {
    return enter("hipGraphDestroy", [&](Fake& fake) {
        return fake.graphs.remove(graph) ? kSuccess : fake.blame_handle("hipGraphDestroy");
    });
}
HIP_EXPORT int hipGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    return enter("hipGraphInstantiateWithFlags", [&](Fake& fake) {
        const FakeGraph* live = fake.graphs.find(graph);
        if (live == nullptr) return fake.blame_handle("hipGraphInstantiateWithFlags");
        *executable = fake.executables.add(std::make_unique<Executable>(Executable{live->works}));
        return kSuccess;
    });
}
HIP_EXPORT int hipGraphExecDestroy(void* executable) {
    return enter("hipGraphExecDestroy", [&](Fake& fake) {
        fake.drain_all();
        return fake.executables.remove(executable) ? kSuccess
                                                   : fake.blame_handle("hipGraphExecDestroy");
    });
}
HIP_EXPORT int hipGraphLaunch(void* executable, void* stream) {
    return enter("hipGraphLaunch", [&](Fake& fake) {
        const Executable* live = fake.executables.find(executable);
        if (live == nullptr) return fake.blame_handle("hipGraphLaunch");
        for (const Work& work : live->works)
            if (const Status wrong = enqueue(fake, stream, "hipGraphLaunch", false, work))
                return wrong;
        return kSuccess;
    });
}
