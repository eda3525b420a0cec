// The "cuda" backend: libcuda.so.1 of NVIDIA drivers for CUDA 11.4 and newer.
#include <fmt/format.h>

#include <memory>

#include "runtime/device/device.h"
#include "runtime/device/gpu/driver_library.h"
#include "runtime/device/gpu/gpu_device.h"

namespace hetune {
namespace {

// CUdevice_attribute of cuda.h
constexpr int kMultiprocessorCount = 16;
constexpr int kIntegrated = 18;
constexpr int kComputeCapabilityMajor = 75;
constexpr int kComputeCapabilityMinor = 76;

std::function<int(GpuLoop*)> loop_maker(const DriverLibrary& cuda) {
    const auto current = cuda.optional<int(void**)>("cuCtxGetCurrent");
    const auto create = cuda.optional<int(void**, unsigned)>("cuGraphCreate");
    const auto make_handle =
        cuda.optional<int(unsigned long long*, void*, void*, unsigned, unsigned)>(
            "cuGraphConditionalHandleCreate");
    const auto add = cuda.optional<int(void**, void*, const void*, const void*, size_t, LoopNode*)>(
        "cuGraphAddNode_v2");
    const auto destroy = cuda.optional<int(void*)>("cuGraphDestroy");
    if (!current || !create || !make_handle || !add || !destroy) return {};
    return [=](GpuLoop* loop) {
        LoopNode params;
        void* node = nullptr;
        int status = current(&params.context);
        if (status == 0) status = create(&loop->graph, 0);
        if (status != 0) return status;
        status = make_handle(&loop->handle, loop->graph, params.context, 1, kAssignDefault);
        params.handle = loop->handle;
        if (status == 0) status = add(&node, loop->graph, nullptr, nullptr, 0, &params);
        if (status == 0)
            loop->body = params.bodies[0];
        else
            destroy(loop->graph);
        return status;
    };
}

GpuApi load_cuda() {
    DriverLibrary cuda({"libcuda.so.1"}, "install the NVIDIA driver");
    GpuApi api;
    api.backend = "cuda";
    api.library = cuda.file();
    api.launch_params_end = nullptr;  // CU_LAUNCH_PARAM_END
    cuda.find(api.device_count, "cuDeviceGetCount");
    cuda.find(api.memory_info, "cuMemGetInfo_v2");
    cuda.find(api.allocate, "cuMemAlloc_v2");
    cuda.find(api.free, "cuMemFree_v2");
    cuda.find(api.host_register, "cuMemHostRegister_v2");
    cuda.find(api.host_unregister, "cuMemHostUnregister");
    cuda.find(api.host_address, "cuMemHostGetDevicePointer_v2");
    cuda.find(api.host_allocate, "cuMemHostAlloc");
    cuda.find(api.host_free, "cuMemFreeHost");
    cuda.find(api.to_device, "cuMemcpyHtoDAsync_v2");
    cuda.find(api.to_host, "cuMemcpyDtoHAsync_v2");
    cuda.find(api.on_device, "cuMemcpyDtoDAsync_v2");
    cuda.find(api.fill, "cuMemsetD8Async");
    cuda.find(api.stream_create, "cuStreamCreate");
    cuda.find(api.stream_destroy, "cuStreamDestroy_v2");
    cuda.find(api.stream_wait_event, "cuStreamWaitEvent");
    cuda.find(api.module_load, "cuModuleLoadData");
    cuda.find(api.module_unload, "cuModuleUnload");
    cuda.find(api.module_function, "cuModuleGetFunction");
    cuda.find(api.launch, "cuLaunchKernel");
    api.launch_overlapped = {
        "cuLaunchKernelEx",
        cuda.optional<int(const LaunchConfig*, void*, void**, void**)>("cuLaunchKernelEx")};
    cuda.find(api.event_create, "cuEventCreate");
    cuda.find(api.event_destroy, "cuEventDestroy_v2");
    cuda.find(api.event_record, "cuEventRecord");
    cuda.find(api.event_synchronize, "cuEventSynchronize");
    cuda.find(api.event_elapsed, "cuEventElapsedTime");
    cuda.find(api.capture_begin, "cuStreamBeginCapture_v2");
    cuda.find(api.capture_end, "cuStreamEndCapture");
    api.capture_to = {"cuStreamBeginCaptureToGraph",
                      cuda.optional<int(void*, void*, const void*, const void*, size_t, int)>(
                          "cuStreamBeginCaptureToGraph")};
    api.make_loop = loop_maker(cuda);
    cuda.find(api.graph_destroy, "cuGraphDestroy");
    cuda.find(api.graph_instantiate, "cuGraphInstantiateWithFlags");
    cuda.find(api.executable_destroy, "cuGraphExecDestroy");
    cuda.find(api.graph_launch, "cuGraphLaunch");

    DriverCall<int(unsigned)> init;
    DriverCall<int(int*)> version;
    DriverCall<int(char*, int, int)> name;
    DriverCall<int(int*, int, int)> attribute;
    DriverCall<int(size_t*, int)> memory;
    DriverCall<int(void**, int)> retain;
    DriverCall<int(int)> release;
    DriverCall<int(void*)> set_current;
    DriverCall<int(int, const char**)> error_name, error_string;
    cuda.find(init, "cuInit");
    cuda.find(version, "cuDriverGetVersion");
    cuda.find(name, "cuDeviceGetName");
    cuda.find(attribute, "cuDeviceGetAttribute");
    cuda.find(memory, "cuDeviceTotalMem_v2");
    cuda.find(retain, "cuDevicePrimaryCtxRetain");
    cuda.find(release, "cuDevicePrimaryCtxRelease_v2");
    cuda.find(set_current, "cuCtxSetCurrent");
    cuda.find(error_name, "cuGetErrorName");
    cuda.find(error_string, "cuGetErrorString");
    cuda.require_all("a driver for CUDA 11.4 or newer has it");

    api.error_text = [=](int status) -> std::string {
        const char *id = nullptr, *text = nullptr;
        if (error_name(status, &id) != 0 || error_string(status, &text) != 0)
            return "unknown error";
        return fmt::format("{}: {}", id, text);
    };
    api.attach_name = set_current.name;
    // A device's ordinal serves as its CUdevice, which is an int.
    api.attach = [=, check = api](int device) {
        void* handle = nullptr;
        gpu_check(check, retain(&handle, device), retain.name);
        const std::shared_ptr<void> context(handle, [=](void*) { release(device); });
        return [=] { return set_current(context.get()); };
    };
    api.facts = [=, check = api](int device) {
        const auto number = [&](int which) {
            int value = 0;
            gpu_check(check, attribute(&value, which, device), attribute.name);
            return value;
        };
        char text[256] = "";
        gpu_check(check, name(text, sizeof text, device), name.name);
        size_t bytes = 0;
        gpu_check(check, memory(&bytes, device), memory.name);
        int driver = 0;  // 1000 * major + 10 * minor
        gpu_check(check, version(&driver), version.name);
        return GpuFacts{
            .name = text,
            .arch = fmt::format("sm_{}{}", number(kComputeCapabilityMajor),
                                number(kComputeCapabilityMinor)),
            .driver = fmt::format("CUDA {}.{}, {}", driver / 1000, driver % 1000 / 10,
                                  kernel_driver("nvidia")),
            .memory_bytes = bytes,
            .compute_units = number(kMultiprocessorCount),
            .unified_memory = number(kIntegrated) != 0,
            // Graphs keep the overlap since CUDA 12.3.
            .overlaps_launches = check.launch_overlapped.function != nullptr && driver >= 12030 &&
                                 number(kComputeCapabilityMajor) >= 9,
            // Loops came with CUDA 12.3, and with 12.4 what ends them.
            .graph_loops =
                check.make_loop && check.capture_to.function != nullptr && driver >= 12040,
        };
    };
    gpu_check(api, init(0), init.name);
    return api;
}

const RegisterBackend kCuda{{
    .name = "cuda",
    .preference = 20,
    .description = "NVIDIA GPUs through the CUDA driver",
    .devices = [] { return gpu_devices(load_cuda()); },
    .open = [](int ordinal) { return open_gpu(load_cuda(), ordinal); },
}};

}  // namespace
}  // namespace hetune
