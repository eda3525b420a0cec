// Built where hip/hip_runtime_api.h is installed.
#define __HIP_PLATFORM_AMD__ 1
#define __HIP_DISABLE_CPP_FUNCTIONS__ 1
#include <doctest/doctest.h>
#include <hip/hip_runtime_api.h>

#include <cstddef>

#include "runtime/device/gpu/gpu_api.h"
#include "runtime/device/gpu/hip_properties.h"
#include "same_abi.h"

#define CHECK_ABI(member, function)                                                          \
    CHECK_MESSAGE((test::same_abi<decltype(GpuApi::member)::Signature, decltype(function)>), \
                  #function)

namespace hetune {

TEST_CASE("Functions of the HIP runtime are declared as in hip_runtime_api.h") {
    CHECK_ABI(device_count, hipGetDeviceCount);
    CHECK_ABI(memory_info, hipMemGetInfo);
    CHECK_ABI(allocate, hipMalloc);
    CHECK_ABI(free, hipFree);
    CHECK_ABI(host_register, hipHostRegister);
    CHECK_ABI(host_unregister, hipHostUnregister);
    CHECK_ABI(host_address, hipHostGetDevicePointer);
    CHECK_ABI(host_allocate, hipHostMalloc);
    CHECK_ABI(host_free, hipHostFree);
    CHECK_ABI(stream_wait_event, hipStreamWaitEvent);
    CHECK_ABI(to_device, hipMemcpyHtoDAsync);
    CHECK_ABI(to_host, hipMemcpyDtoHAsync);
    CHECK_ABI(on_device, hipMemcpyDtoDAsync);
    CHECK_ABI(fill, hipMemsetD8Async);
    CHECK_ABI(stream_create, hipStreamCreateWithFlags);
    CHECK_ABI(stream_destroy, hipStreamDestroy);
    CHECK_ABI(module_load, hipModuleLoadData);
    CHECK_ABI(module_unload, hipModuleUnload);
    CHECK_ABI(module_function, hipModuleGetFunction);
    CHECK_ABI(launch, hipModuleLaunchKernel);
    CHECK_ABI(event_create, hipEventCreateWithFlags);
    CHECK_ABI(event_destroy, hipEventDestroy);
    CHECK_ABI(event_record, hipEventRecord);
    CHECK_ABI(event_synchronize, hipEventSynchronize);
    CHECK_ABI(event_elapsed, hipEventElapsedTime);
    CHECK_ABI(capture_begin, hipStreamBeginCapture);
    CHECK_ABI(capture_end, hipStreamEndCapture);
    CHECK_ABI(graph_destroy, hipGraphDestroy);
    CHECK_ABI(graph_instantiate, hipGraphInstantiateWithFlags);
    CHECK_ABI(executable_destroy, hipGraphExecDestroy);
    CHECK_ABI(graph_launch, hipGraphLaunch);
}

TEST_CASE("Constants and properties of the HIP runtime are those of hip_runtime_api.h") {
    CHECK(HIP_LAUNCH_PARAM_BUFFER_POINTER == kLaunchParamsPointer);
    CHECK(HIP_LAUNCH_PARAM_BUFFER_SIZE == kLaunchParamsSize);
    CHECK(HIP_LAUNCH_PARAM_END == reinterpret_cast<void*>(3));
    CHECK(hipStreamNonBlocking == kStreamNonBlocking);
    CHECK(static_cast<int>(hipStreamCaptureModeThreadLocal) == kCaptureThreadLocal);
    CHECK(hipHostRegisterPortable == kHostRegisterPortable);
    CHECK(hipHostRegisterMapped == kHostRegisterMapped);
    CHECK(hipHostMallocPortable == kHostAllocatePortable);
    CHECK(hipHostMallocMapped == kHostAllocateMapped);
    CHECK(hipEventBlockingSync == kEventBlockingSync);
    CHECK(hipEventDisableTiming == kEventDisableTiming);
    CHECK(hipSuccess == 0);
    CHECK(hipErrorNoDevice == 100);

    const HipPropertyLayout& layout = HIP_VERSION_MAJOR >= 6 ? kHip6Properties : kHip5Properties;
    CHECK(sizeof(hipDeviceProp_t) >= layout.bytes);
    CHECK(offsetof(hipDeviceProp_t, name) == layout.name);
    CHECK(offsetof(hipDeviceProp_t, totalGlobalMem) == layout.total_memory);
    CHECK(offsetof(hipDeviceProp_t, multiProcessorCount) == layout.compute_units);
    CHECK(offsetof(hipDeviceProp_t, integrated) == layout.integrated);
    CHECK(offsetof(hipDeviceProp_t, gcnArchName) == layout.arch);
}

}  // namespace hetune
