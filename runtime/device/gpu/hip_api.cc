// The "hip" backend: libamdhip64 of ROCm 5.2 to 7.
#include <fmt/format.h>
#include <glob.h>

#include <cstring>

#include "runtime/compile/environment.h"
#include "runtime/device/device.h"
#include "runtime/device/gpu/amd_driver.h"
#include "runtime/device/gpu/driver_library.h"
#include "runtime/device/gpu/gpu_device.h"
#include "runtime/device/gpu/hip_properties.h"

namespace hetune {
namespace {

constexpr const char* kInstall =
    "install the HIP runtime of ROCm 5.2 to 7, from AMD's repository (https://rocm.docs.amd.com) "
    "or "
    "your distribution's (Debian 12 and 13: libamdhip64-5; newer: libamdhip64-6), or name it in "
    "HETUNE_HIP_LIBRARY";

// hipErrorNoDevice, and hipErrorInvalidDevice, which is what HIP 5.2 says for it.
constexpr int kNoDevice = 100, kInvalidDevice = 101;

// The newest first, and of each version the loader's before those below a ROCm folder.
std::vector<std::string> library_files(const Environment& environment) {
    if (!environment.hip_library.empty()) return {environment.hip_library};
    std::vector<std::string> folders;
    if (!environment.rocm_path.empty()) folders.push_back(environment.rocm_path + "/lib");
    if (glob_t found{}; glob("/opt/rocm*/lib", GLOB_ONLYDIR, nullptr, &found) == 0) {
        for (size_t i = found.gl_pathc; i > 0; --i) folders.emplace_back(found.gl_pathv[i - 1]);
        globfree(&found);
    }
    std::vector<std::string> files;
    for (const char* soname : {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"}) {
        files.emplace_back(soname);
        for (const std::string& folder : folders) files.push_back(folder + "/" + soname);
    }
    return files;
}

int int_at(const std::vector<char>& bytes, size_t at) {
    int value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

GpuApi load_hip(const Environment& environment) {
    DriverLibrary hip(library_files(environment), kInstall);
    GpuApi api;
    api.backend = "hip";
    api.library = hip.file();
    api.launch_params_end = reinterpret_cast<void*>(3);  // HIP_LAUNCH_PARAM_END
    hip.find(api.device_count, "hipGetDeviceCount");
    hip.find(api.memory_info, "hipMemGetInfo");
    hip.find(api.allocate, "hipMalloc");
    hip.find(api.free, "hipFree");
    hip.find(api.host_register, "hipHostRegister");
    hip.find(api.host_unregister, "hipHostUnregister");
    hip.find(api.host_address, "hipHostGetDevicePointer");
    hip.find(api.host_allocate, "hipHostMalloc");
    hip.find(api.host_free, "hipHostFree");
    hip.find(api.to_device, "hipMemcpyHtoDAsync");
    hip.find(api.to_host, "hipMemcpyDtoHAsync");
    hip.find(api.on_device, "hipMemcpyDtoDAsync");
    hip.find(api.fill, "hipMemsetD8Async");
    hip.find(api.stream_create, "hipStreamCreateWithFlags");
    hip.find(api.stream_destroy, "hipStreamDestroy");
    hip.find(api.stream_wait_event, "hipStreamWaitEvent");
    hip.find(api.module_load, "hipModuleLoadData");
    hip.find(api.module_unload, "hipModuleUnload");
    hip.find(api.module_function, "hipModuleGetFunction");
    hip.find(api.launch, "hipModuleLaunchKernel");
    hip.find(api.event_create, "hipEventCreateWithFlags");
    hip.find(api.event_destroy, "hipEventDestroy");
    hip.find(api.event_record, "hipEventRecord");
    hip.find(api.event_synchronize, "hipEventSynchronize");
    hip.find(api.event_elapsed, "hipEventElapsedTime");
    hip.find(api.capture_begin, "hipStreamBeginCapture");
    hip.find(api.capture_end, "hipStreamEndCapture");
    hip.find(api.graph_destroy, "hipGraphDestroy");
    hip.find(api.graph_instantiate, "hipGraphInstantiateWithFlags");
    hip.find(api.executable_destroy, "hipGraphExecDestroy");
    hip.find(api.graph_launch, "hipGraphLaunch");

    DriverCall<int(unsigned)> init;
    DriverCall<int(int)> set_device;
    DriverCall<int(int*)> version;
    DriverCall<int(void*, int)> properties;
    hip.find(init, "hipInit");
    hip.find(set_device, "hipSetDevice");
    hip.find(version, "hipDriverGetVersion");
    const bool new_layout = hip.optional<int(void*, int)>("hipGetDevicePropertiesR0600") != nullptr;
    hip.find(properties, new_layout ? "hipGetDevicePropertiesR0600" : "hipGetDeviceProperties");
    const auto name_of = hip.optional<const char*(int)>("hipGetErrorName");
    const auto text_of = hip.optional<const char*(int)>("hipGetErrorString");
    hip.require_all("ROCm 5.2 or newer has it");

    api.error_text = [=](int status) {
        return name_of == nullptr || text_of == nullptr
                   ? "unknown error"
                   : fmt::format("{}: {}", name_of(status), text_of(status));
    };
    api.attach_name = set_device.name;
    api.attach = [=](int device) { return [=] { return set_device(device); }; };
    api.facts = [=, check = api](int device) {
        const HipPropertyLayout& layout = new_layout ? kHip6Properties : kHip5Properties;
        std::vector<char> bytes(2 * layout.bytes);  // room for a struct that grows at its end
        gpu_check(check, properties(bytes.data(), device), properties.name);
        int number = 0;  // major * 10^7 + minor * 10^5 + patch
        gpu_check(check, version(&number), version.name);
        const std::string arch(bytes.data() + layout.arch);
        uint64_t memory;
        std::memcpy(&memory, bytes.data() + layout.total_memory, sizeof memory);
        return GpuFacts{
            .name = bytes.data() + layout.name,
            .arch = arch.substr(0, arch.find(':')),
            .driver = fmt::format("HIP {}.{}.{}, {}", number / 10000000, number / 100000 % 100,
                                  number % 100000, kernel_driver("amdgpu")),
            .memory_bytes = memory,
            .compute_units = int_at(bytes, layout.compute_units),
            .unified_memory = int_at(bytes, layout.integrated) != 0};
    };
    const int status = init(0);
    if (status == kNoDevice || status == kInvalidDevice)
        throw DeviceError(
            fmt::format("hip: {} finds no AMD GPU: {}", api.library, amd_driver_advice()));
    gpu_check(api, status, init.name);
    return api;
}

const RegisterBackend kHip{{
    .name = "hip",
    .preference = 30,
    .description = "AMD GPUs through the HIP runtime of ROCm",
    .devices = [] { return gpu_devices(load_hip(read_environment())); },
    .open = [](int ordinal) { return open_gpu(load_hip(read_environment()), ordinal); },
}};

}  // namespace
}  // namespace hetune
