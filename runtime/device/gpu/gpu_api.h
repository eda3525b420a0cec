// What GpuDevice calls of a GPU driver. hip_api.cc and cuda_api.cc fill it in, each from a library
// that is opened at run time; no vendor header is included anywhere.
//
// The two drivers agree on nearly everything by ABI: handles, addresses and stream arguments are 64
// bits wide, a status is an int, 0 is success. Declarations follow hip/hip_runtime_api.h (HIP 5.2
// to 7) and cuda.h (CUDA 11.4 to 13); tests/runtime/*_declarations_test.cc compares them with the
// headers where those are installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace hetune {

template <class Signature>
struct DriverCall;

// A function of the driver with the name it has there, for messages.
template <class... Params>
struct DriverCall<int(Params...)> {
    using Signature = int(Params...);
    const char* name = "";
    Signature* function = nullptr;

    int operator()(Params... params) const { return function(params...); }
};

// cuda.h: a launch that may overlap the one before (CUlaunchConfig with one CUlaunchAttribute).
struct LaunchAttribute {
    int id;
    char pad[4];
    union {
        char bytes[64];
        int flag;
    } value;
};
struct LaunchConfig {
    unsigned groups[3], threads[3], lds_bytes;
    void* stream;
    LaunchAttribute* attributes;
    unsigned attribute_count;
};
constexpr int kOverlapPredecessor = 6;  // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION

// cuda.h: CUgraphNodeParams of a node that repeats its body (CUDA_CONDITIONAL_NODE_PARAMS).
struct LoopNode {
    int type = 13, reserved[3] = {};  // CU_GRAPH_NODE_TYPE_CONDITIONAL
    unsigned long long handle = 0;
    int kind = 1;       // CU_GRAPH_COND_TYPE_WHILE
    unsigned size = 1;  // bodies
    void** bodies = nullptr;
    void* context = nullptr;
    long long padding[26] = {};
};
constexpr unsigned kAssignDefault = 1;  // CU_GRAPH_COND_ASSIGN_DEFAULT: at each launch of the graph

// A graph of one node, a loop: what its body is captured into, and how launches in it call it.
struct GpuLoop {
    void* graph = nullptr;  // owned by whoever asked for it
    void* body = nullptr;   // part of the graph
    unsigned long long handle = 0;
};

struct GpuFacts {
    std::string name;    // "AMD Radeon RX 7900 XTX"
    std::string arch;    // "gfx1100", "sm_90"
    std::string driver;  // "HIP 6.2.41133, Linux 6.12.1", "CUDA 13.0, nvidia 580.159.04"
    uint64_t memory_bytes = 0;
    int compute_units = 0;
    bool unified_memory = false;
    bool overlaps_launches = false;  // launch_overlapped may be used
    bool graph_loops = false;        // make_loop and capture_to may be used
};

struct GpuApi {
    std::string backend;                // "hip"
    std::string library;                // the file that was opened
    void* launch_params_end = nullptr;  // ends the `extra` array of a launch

    DriverCall<int(int*)> device_count;
    DriverCall<int(size_t* free, size_t* total)> memory_info;
    DriverCall<int(void** address, size_t bytes)> allocate;
    DriverCall<int(void*)> free;
    DriverCall<int(void* host, size_t bytes, unsigned flags)> host_register;
    DriverCall<int(void* host)> host_unregister;
    DriverCall<int(void** address, void* host, unsigned flags)> host_address;
    DriverCall<int(void** host, size_t bytes, unsigned flags)> host_allocate;
    DriverCall<int(void* host)> host_free;
    DriverCall<int(void* to, const void* from, size_t bytes, void* stream)> to_device;
    DriverCall<int(void* to, const void* from, size_t bytes, void* stream)> to_host;
    DriverCall<int(void* to, void* from, size_t bytes, void* stream)> on_device;
    DriverCall<int(void* to, unsigned char value, size_t bytes, void* stream)> fill;
    DriverCall<int(void** stream, unsigned flags)> stream_create;
    DriverCall<int(void*)> stream_destroy;
    DriverCall<int(void* stream, void* event, unsigned flags)> stream_wait_event;
    DriverCall<int(void** module, const void* image)> module_load;
    DriverCall<int(void*)> module_unload;
    DriverCall<int(void** function, void* module, const char* name)> module_function;
    DriverCall<int(void* function, unsigned groups_x, unsigned groups_y, unsigned groups_z,
                   unsigned threads_x, unsigned threads_y, unsigned threads_z, unsigned lds_bytes,
                   void* stream, void** params, void** extra)>
        launch;
    // A launch whose groups may come up while the one before still runs: kernels wait by themselves
    // (prelude: await_inputs). Absent from HIP and from CUDA before 11.8.
    DriverCall<int(const LaunchConfig* config, void* function, void** params, void** extra)>
        launch_overlapped;
    DriverCall<int(void** event, unsigned flags)> event_create;
    DriverCall<int(void*)> event_destroy;
    DriverCall<int(void* event, void* stream)> event_record;
    DriverCall<int(void*)> event_synchronize;
    DriverCall<int(float* ms, void* begin, void* end)> event_elapsed;
    DriverCall<int(void* stream, int mode)> capture_begin;
    DriverCall<int(void* stream, void** graph)> capture_end;
    // Into a graph that exists. Absent from HIP and from CUDA before 12.3, as loops are.
    DriverCall<int(void* stream, void* graph, const void* dependencies, const void* edges,
                   size_t count, int mode)>
        capture_to;
    DriverCall<int(void*)> graph_destroy;
    DriverCall<int(void** executable, void* graph, unsigned long long flags)> graph_instantiate;
    DriverCall<int(void*)> executable_destroy;
    DriverCall<int(void* executable, void* stream)> graph_launch;

    std::function<GpuFacts(int device)> facts;  // throws DeviceError
    // Gives a function that makes the device current for the calling thread. Throws DeviceError.
    std::function<std::function<int()>(int device)> attach;
    std::function<int(GpuLoop* loop)> make_loop;        // gives a status
    std::string attach_name;                            // what that function calls
    std::function<std::string(int status)> error_text;  // "hipErrorOutOfMemory: out of memory"
};

// Values that both drivers share (hipStreamNonBlocking / CU_STREAM_NON_BLOCKING, ...).
constexpr unsigned kStreamNonBlocking = 1;
constexpr int kCaptureThreadLocal = 1;
constexpr unsigned kHostRegisterPortable = 1, kHostRegisterMapped = 2, kHostRegisterReadOnly = 8;
constexpr unsigned kHostAllocatePortable = 1, kHostAllocateMapped = 2;
constexpr unsigned kEventBlockingSync = 1, kEventDisableTiming = 2;
inline void* const kLaunchParamsPointer = reinterpret_cast<void*>(1);
inline void* const kLaunchParamsSize = reinterpret_cast<void*>(2);

// Throws DeviceError with backend, call, number and text unless the status is success. `call` may
// go on after the name: "hipMalloc of 4096 bytes".
void gpu_check(const GpuApi& api, int status, const std::string& call);

// "nvidia 580.159.04" from the kernel module's own version, or that of the kernel ("Linux 6.12.1")
// where the module belongs to it. With the library's version it tells one driver from the next.
std::string kernel_driver(const std::string& module);

}  // namespace hetune
