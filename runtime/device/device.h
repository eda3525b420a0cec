// A device that runs code objects: HIP, CUDA, or the CPU with lanes as fibers.
//
// One thread at a time may use a Device. Work is ordered: launches, copies and fills run in the
// order they are given. Everything a Device hands out must be destroyed before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cache/code_object.h"
#include "planner/file/errors.h"
#include "planner/plan/arch.h"

namespace hetune {

struct LaunchShape {
    uint32_t groups[3] = {1, 1, 1};
    uint32_t threads = 32;   // per group, one-dimensional
    uint32_t lds_bytes = 0;  // dynamic; templates here use static LDS only
    bool overlaps =
        false;  // may come up while the launch before runs: the kernel awaits its inputs

    bool operator==(const LaunchShape&) const = default;
};

// Device memory. `address()` is what kernels get; on the CPU device and on APUs it is also
// readable by the host.
class Buffer {
  public:
    virtual ~Buffer() = default;
    virtual uint64_t address() const = 0;
    virtual size_t bytes() const = 0;
};

// A loaded code object with one entry point.
class Module {
  public:
    virtual ~Module() = default;
};

// A captured sequence of launches, replayed without any change.
class Graph {
  public:
    virtual ~Graph() = default;
};

// A point in the order of work that the host can wait for.
class Mark {
  public:
    virtual ~Mark() = default;
};

// Memory of the host that kernels use in place. What they write is there once a Mark behind them
// was waited for.
struct HostMemory {
    std::unique_ptr<Buffer> buffer;
    std::byte* bytes = nullptr;
};

// `make` is called for all bytes of the buffer, piece by piece from the first to the last.
struct MadeUpload {
    Buffer* to = nullptr;
    std::function<void(std::span<std::byte> piece)> make;
};

struct DeviceInfo {
    std::string backend;  // "cpu", "hip", "cuda"
    std::string name;     // "AMD Radeon RX 7900 XTX"
    std::string driver;   // version of driver and runtime: part of certificates, not of keys
    uint64_t memory_bytes = 0;
    uint64_t free_bytes = 0;
    int compute_units = 0;
    bool unified_memory = false;  // APU: tiles are mapped, not copied
    bool graph_loops = false;     // capture_loop() may give a graph
};

class Device {
  public:
    virtual ~Device() = default;
    virtual const Arch& arch() const = 0;
    virtual DeviceInfo info() const = 0;

    virtual std::unique_ptr<Buffer> allocate(size_t bytes) = 0;
    // Host memory that stays valid and unchanged as long as the buffer lives (a mapped tile pack).
    // The default copies; devices that share memory with the host use it in place.
    virtual std::unique_ptr<Buffer> adopt(std::span<const std::byte> host);

    // Blocking for the host side of the span: it may be reused when the call returns. A large
    // upload may still be on its way then; what is launched behind it waits for it.
    virtual void upload(Buffer& to, size_t offset, std::span<const std::byte> from) = 0;
    // Several whole buffers, whose bytes are made on the way: on devices with memory of their own
    // at the same time, each buffer by one thread. Returns when nothing of them is asked for any
    // more; throws what `make` throws.
    virtual void upload_all(std::span<const MadeUpload> uploads);
    virtual void download(std::span<std::byte> to, const Buffer& from, size_t offset) = 0;
    virtual void fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) = 0;
    struct Place {
        Buffer& buffer;
        size_t offset = 0;
    };
    // In the order of launches; the two do not overlap. The default goes through the host.
    virtual void copy(const Place& to, const Place& from, size_t bytes);

    virtual std::unique_ptr<Module> load(const CodeObject& code) = 0;

    // Asynchronous. `args` holds the explicit kernel arguments, each at its natural alignment, as
    // in a C struct; it is copied before the call returns, the buffers it points to are not.
    virtual void launch(Module& module, const LaunchShape& shape,
                        std::span<const std::byte> args) = 0;
    virtual void synchronize() = 0;

    // Runs `record`, which only launches, and keeps the launches.
    virtual std::unique_ptr<Graph> capture(const std::function<void()>& record) = 0;
    virtual void replay(Graph& graph) = 0;
    // The same as the body of a loop, which runs once and then as long as a launch in it asks for
    // more (prelude: loop_again). The loop's handle, 8 bytes, is put to the front of `handle`
    // before anything is recorded. Null where there are no loops, or the driver takes none of these
    // launches.
    virtual std::unique_ptr<Graph> capture_loop(Buffer& handle,
                                                const std::function<void()>& record);

    virtual HostMemory allocate_host(size_t bytes) = 0;
    virtual std::unique_ptr<Mark> make_mark() = 0;
    virtual void record(Mark& mark) = 0;
    // Until all work before the last record() is done. Sleeps rather than spins.
    virtual void wait(Mark& mark) = 0;

    // Milliseconds of device time between two points in the order of work.
    virtual double time_ms(const std::function<void()>& work) = 0;

    // The driver's stream (hipStream_t, CUstream) in whose order work is done, for a library that
    // is to work there too; null where there is no driver.
    virtual void* native_stream() { return nullptr; }
};

// A device as its driver lists it, not opened.
struct FoundDevice {
    int ordinal = 0;  // the driver's
    std::string name, arch;
    uint64_t memory_bytes = 0;
    bool integrated = false;
    std::string unusable;  // one line; empty where it can be opened
};

// Backends register themselves from their own file (runtime/device/cpu_device.cc, ...).
struct Backend {
    std::string name;  // "hip"
    // Of several backends with equally good devices the highest is chosen. Above 0: it has GPUs.
    int preference = 0;
    std::string description;  // one line for `hetune doctor`
    // In the driver's order. Throws DeviceError with the reason where there is none.
    std::function<std::vector<FoundDevice>()> devices;
    std::function<std::unique_ptr<Device>(int ordinal)> open;  // throws DeviceError
    // The threads of this process that run kernels; empty: none do.
    std::function<std::unique_ptr<Device>(int threads)> open_with_threads = {};

    // Why it cannot run here: empty where one of its devices is usable.
    std::string unavailable() const;
};
std::vector<Backend>& backends();
struct RegisterBackend {
    explicit RegisterBackend(Backend backend);
};

// The best usable device first: one with memory of its own before an integrated one, then the
// preferred backend's, then the one with more memory.
struct ListedDevice {
    int index =
        -1;  // among all GPUs in the order of backends and drivers; -1: of the CPU or a test
    const Backend* backend = nullptr;
    FoundDevice found;
};
struct DeviceList {
    std::vector<ListedDevice> devices;  // usable and not, by index, those without an index last
    std::vector<std::string> missing;  // "hip: no libamdhip64.so.7; ...": backends without a device
};
// Asks the drivers anew. With a name, only that backend; indices stay those of all.
DeviceList list_devices(std::string_view backend = {});

// Which device to open.
struct DeviceWish {
    std::string backend;      // empty: that of the best GPU
    int index = -1;           // a ListedDevice's; -1: the best
    int64_t model_bytes = 0;  // a larger model than kLargestOnCpu takes the CPU only by its name
    int threads = 0;          // of the CPU; 0: one for each core; else a GPU is an OptionError
};
constexpr int64_t kLargestOnCpu = int64_t{512} << 20;

// Throws DeviceError with a reason for each device that there is, and OptionError for an index or
// backend that there is not. `warn` gets the reasons where a model takes the CPU for want of a GPU.
std::unique_ptr<Device> open_device(const DeviceWish& wish,
                                    const std::function<void(const std::string& line)>& warn);
// The same for a model of any size, without a word.
std::unique_ptr<Device> open_device(std::string_view backend);

}  // namespace hetune
