// Built where cuda.h is installed.
#include <cuda.h>
#include <doctest/doctest.h>

#include "runtime/device/gpu/gpu_api.h"
#include "same_abi.h"

#define CHECK_ABI(member, function)                                                          \
    CHECK_MESSAGE((test::same_abi<decltype(GpuApi::member)::Signature, decltype(function)>), \
                  #function)

namespace hetune {

TEST_CASE("Functions of the CUDA driver are declared as in cuda.h") {
    CHECK_ABI(device_count, cuDeviceGetCount);
    CHECK_ABI(memory_info, cuMemGetInfo);
    CHECK_ABI(allocate, cuMemAlloc);
    CHECK_ABI(free, cuMemFree);
    CHECK_ABI(host_register, cuMemHostRegister);
    CHECK_ABI(host_unregister, cuMemHostUnregister);
    CHECK_ABI(host_address, cuMemHostGetDevicePointer);
    CHECK_ABI(host_allocate, cuMemHostAlloc);
    CHECK_ABI(host_free, cuMemFreeHost);
    CHECK_ABI(stream_wait_event, cuStreamWaitEvent);
    CHECK_ABI(to_device, cuMemcpyHtoDAsync);
    CHECK_ABI(to_host, cuMemcpyDtoHAsync);
    CHECK_ABI(on_device, cuMemcpyDtoDAsync);
    CHECK_ABI(fill, cuMemsetD8Async);
    CHECK_ABI(stream_create, cuStreamCreate);
    CHECK_ABI(stream_destroy, cuStreamDestroy);
    CHECK_ABI(module_load, cuModuleLoadData);
    CHECK_ABI(module_unload, cuModuleUnload);
    CHECK_ABI(module_function, cuModuleGetFunction);
    CHECK_ABI(launch, cuLaunchKernel);
    CHECK_ABI(launch_overlapped, cuLaunchKernelEx);
    CHECK_ABI(event_create, cuEventCreate);
    CHECK_ABI(event_destroy, cuEventDestroy);
    CHECK_ABI(event_record, cuEventRecord);
    CHECK_ABI(event_synchronize, cuEventSynchronize);
    CHECK_ABI(event_elapsed, cuEventElapsedTime);
    CHECK_ABI(capture_begin, cuStreamBeginCapture);
    CHECK_ABI(capture_end, cuStreamEndCapture);
    CHECK_ABI(capture_to, cuStreamBeginCaptureToGraph);
    CHECK_ABI(graph_destroy, cuGraphDestroy);
    CHECK_ABI(graph_instantiate, cuGraphInstantiateWithFlags);
    CHECK_ABI(executable_destroy, cuGraphExecDestroy);
    CHECK_ABI(graph_launch, cuGraphLaunch);
}

TEST_CASE("The configuration of a launch lies in memory as in cuda.h") {
    CHECK(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
    CHECK(offsetof(LaunchConfig, threads) == offsetof(CUlaunchConfig, blockDimX));
    CHECK(offsetof(LaunchConfig, lds_bytes) == offsetof(CUlaunchConfig, sharedMemBytes));
    CHECK(offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream));
    CHECK(offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs));
    CHECK(offsetof(LaunchConfig, attribute_count) == offsetof(CUlaunchConfig, numAttrs));
    CHECK(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
    CHECK(offsetof(LaunchAttribute, value) == offsetof(CUlaunchAttribute, value));
    CHECK(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION == kOverlapPredecessor);
}

TEST_CASE("The node of a loop lies in memory as in cuda.h") {
    CHECK(sizeof(LoopNode) == sizeof(CUgraphNodeParams));
    constexpr size_t kOwn = offsetof(CUgraphNodeParams, conditional);
    using Own = CUDA_CONDITIONAL_NODE_PARAMS;
    CHECK(offsetof(LoopNode, handle) == kOwn + offsetof(Own, handle));
    CHECK(offsetof(LoopNode, kind) == kOwn + offsetof(Own, type));
    CHECK(offsetof(LoopNode, size) == kOwn + offsetof(Own, size));
    CHECK(offsetof(LoopNode, bodies) == kOwn + offsetof(Own, phGraph_out));
    CHECK(offsetof(LoopNode, context) == kOwn + offsetof(Own, ctx));
    CHECK(LoopNode().type == CU_GRAPH_NODE_TYPE_CONDITIONAL);
    CHECK(LoopNode().kind == CU_GRAPH_COND_TYPE_WHILE);
    CHECK(kAssignDefault == CU_GRAPH_COND_ASSIGN_DEFAULT);
    CHECK(sizeof(GpuLoop::handle) == sizeof(CUgraphConditionalHandle));
}

TEST_CASE("Constants of the CUDA driver are those of cuda.h") {
    CHECK(CU_LAUNCH_PARAM_BUFFER_POINTER == kLaunchParamsPointer);
    CHECK(CU_LAUNCH_PARAM_BUFFER_SIZE == kLaunchParamsSize);
    CHECK(CU_LAUNCH_PARAM_END == nullptr);
    CHECK(static_cast<unsigned>(CU_STREAM_NON_BLOCKING) == kStreamNonBlocking);
    CHECK(static_cast<int>(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == kCaptureThreadLocal);
    CHECK(CU_MEMHOSTREGISTER_PORTABLE == kHostRegisterPortable);
    CHECK(CU_MEMHOSTREGISTER_DEVICEMAP == kHostRegisterMapped);
    CHECK(CU_MEMHOSTREGISTER_READ_ONLY == kHostRegisterReadOnly);
    CHECK(static_cast<unsigned>(CU_MEMHOSTALLOC_PORTABLE) == kHostAllocatePortable);
    CHECK(static_cast<unsigned>(CU_MEMHOSTALLOC_DEVICEMAP) == kHostAllocateMapped);
    CHECK(static_cast<unsigned>(CU_EVENT_BLOCKING_SYNC) == kEventBlockingSync);
    CHECK(static_cast<unsigned>(CU_EVENT_DISABLE_TIMING) == kEventDisableTiming);
    CHECK(CUDA_SUCCESS == 0);
    CHECK(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT == 16);
    CHECK(CU_DEVICE_ATTRIBUTE_INTEGRATED == 18);
    CHECK(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR == 75);
    CHECK(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR == 76);
}

}  // namespace hetune
