// The CPU as a device: a launch runs its groups on a few threads, and the lanes of a group as
// fibers of one thread (kernel_templates/prelude/cpu_abi.h). Always there, so it is the default
// where no GPU is found; and it is how every template is tested.
#include "runtime/device/cpu_device.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "runtime/compile/environment.h"
#include "runtime/device/cpu_kernel.h"
#include "runtime/device/lane_fibers.h"
#include "runtime/device/recording.h"

namespace hetune {
namespace {

class HostBuffer : public Buffer {
  public:
    // Owns its memory unless it is given some.
    explicit HostBuffer(size_t bytes) : bytes_(bytes) {
        owned_.reset(static_cast<std::byte*>(std::aligned_alloc(256, (bytes + 255) / 256 * 256)));
        if (bytes > 0 && owned_ == nullptr)
            throw DeviceError(fmt::format("cpu: out of memory allocating {} bytes", bytes));
        data_ = owned_.get();
    }
    explicit HostBuffer(std::span<const std::byte> host)
        : data_(const_cast<std::byte*>(host.data())), bytes_(host.size()) {}

    uint64_t address() const override { return reinterpret_cast<uint64_t>(data_); }
    size_t bytes() const override { return bytes_; }
    std::byte* at(size_t offset, size_t count) const {
        if (offset > bytes_ || count > bytes_ - offset)
            throw DeviceError(fmt::format("cpu: access of {} bytes at {} in a buffer of {}", count,
                                          offset, bytes_));
        return data_ + offset;
    }

  private:
    struct Free {
        void operator()(std::byte* p) const { std::free(p); }
    };
    std::unique_ptr<std::byte, Free> owned_;
    std::byte* data_ = nullptr;
    size_t bytes_ = 0;
};

struct CpuModule : Module {
    explicit CpuModule(const CodeObject& code) : kernel(code.bytes, code.entry) {}
    CpuKernel kernel;
};

struct RecordedLaunch {
    CpuEntry entry;
    LaunchShape shape;
    std::vector<std::byte> args;
};

struct CpuGraph : Graph {
    std::vector<RecordedLaunch> launches;
    int32_t again = 0;  // of a loop: its handle is the address of this
};

std::string processor_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
    return "x86-64";
}

// What can be had without swapping, page cache included.
uint64_t available_memory() {
    std::ifstream info("/proc/meminfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("MemAvailable:")) return std::stoull(line.substr(13)) * 1024;
    return static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) *
           static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

// x86-64-v4 stands for AVX-512 with VNNI, without which its kernels would not be faster: so for all
// processors with AVX-512 but those of 2017 and 2018.
bool has_v4() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

const Arch& processor_arch() {
    const std::string asked = read_environment().cpu_arch;
    if (asked.empty()) return find_arch(has_v4() ? "x86-64-v4" : "x86-64-v3");
    if (asked != "x86-64-v3" && asked != "x86-64-v4")
        throw DeviceError(
            fmt::format("cpu: HETUNE_CPU_ARCH is '{}'; it may be x86-64-v3 or x86-64-v4", asked));
    if (asked == "x86-64-v4" && !has_v4())
        throw DeviceError(
            "cpu: HETUNE_CPU_ARCH is x86-64-v4, but this processor has no AVX-512 with VNNI; "
            "x86-64-v3 runs here");
    return find_arch(asked);
}

class CpuDevice : public Device {
  public:
    explicit CpuDevice(int threads) : runner_(threads), arch_(processor_arch()) {}

    const Arch& arch() const override { return arch_; }
    DeviceInfo info() const override {
        const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
        return {.backend = "cpu",
                .name = processor_name(),
                .driver = fmt::format("lanes as fibers, ABI {}", kHetuneCpuAbi),
                .memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * page,
                .free_bytes = available_memory(),
                .compute_units = runner_.threads(),
                .unified_memory = true,
                .graph_loops = true};
    }

    std::unique_ptr<Buffer> allocate(size_t bytes) override {
        return std::make_unique<HostBuffer>(bytes);
    }
    std::unique_ptr<Buffer> adopt(std::span<const std::byte> host) override {
        return std::make_unique<HostBuffer>(host);
    }
    void upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
        not_while_capturing("upload");
        if (!from.empty()) std::memcpy(host(to).at(offset, from.size()), from.data(), from.size());
    }
    void download(std::span<std::byte> to, const Buffer& from, size_t offset) override {
        not_while_capturing("download");
        if (!to.empty()) std::memcpy(to.data(), host(from).at(offset, to.size()), to.size());
    }
    void fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) override {
        not_while_capturing("fill");
        if (bytes > 0) std::memset(host(buffer).at(offset, bytes), value, bytes);
    }

    std::unique_ptr<Module> load(const CodeObject& code) override {
        return std::make_unique<CpuModule>(code);
    }
    void launch(Module& module, const LaunchShape& shape,
                std::span<const std::byte> args) override {
        const CpuEntry entry = static_cast<CpuModule&>(module).kernel.entry();
        if (recording_ != nullptr)
            recording_->launches.push_back({entry, shape, {args.begin(), args.end()}});
        else
            runner_.run(entry, shape, args);
    }
    void synchronize() override {}  // launches return when they are done

    std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
        not_while_capturing("capture");
        auto graph = std::make_unique<CpuGraph>();
        record_into(recording_, *graph, record);
        return graph;
    }
    std::unique_ptr<Graph> capture_loop(Buffer& handle,
                                        const std::function<void()>& record) override {
        not_while_capturing("capture_loop");
        auto graph = std::make_unique<CpuGraph>();
        const auto again = reinterpret_cast<uint64_t>(&graph->again);
        upload(handle, 0, std::as_bytes(std::span(&again, 1)));
        record_into(recording_, *graph, record);
        return graph;
    }
    void replay(Graph& graph) override {
        auto& recorded = static_cast<CpuGraph&>(graph);
        do {
            recorded.again = 0;
            for (const RecordedLaunch& launch : recorded.launches)
                runner_.run(launch.entry, launch.shape, launch.args);
        } while (recorded.again != 0);
    }
    HostMemory allocate_host(size_t bytes) override {
        auto buffer = std::make_unique<HostBuffer>(bytes);
        std::byte* const at = buffer->at(0, bytes);
        return {std::move(buffer), at};
    }
    std::unique_ptr<Mark> make_mark() override { return std::make_unique<Mark>(); }
    void record(Mark&) override {}
    void wait(Mark&) override {}  // launches return when they are done
    double time_ms(const std::function<void()>& work) override {
        const auto start = std::chrono::steady_clock::now();
        work();
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count();
    }

  private:
    void not_while_capturing(const char* call) const {
        if (recording_ != nullptr)
            throw DeviceError(fmt::format("cpu: {} while capturing, which only launches", call));
    }
    static const HostBuffer& host(const Buffer& buffer) {
        return static_cast<const HostBuffer&>(buffer);
    }
    LaneFibers runner_;
    const Arch& arch_;
    CpuGraph* recording_ = nullptr;
};

const RegisterBackend kCpu{{
    .name = "cpu",
    .preference = 0,
    .description = "the same kernels on the CPU, lanes as fibers",
    .devices =
        [] {
            const auto device = open_cpu_device(1);
            const DeviceInfo info = device->info();
            return std::vector<FoundDevice>{{.name = info.name,
                                             .arch = device->arch().name,
                                             .memory_bytes = info.memory_bytes,
                                             .integrated = true}};
        },
    .open = [](int) { return open_cpu_device(0); },
    .open_with_threads = open_cpu_device,
}};

}  // namespace

std::unique_ptr<Device> open_cpu_device(int threads) {
    return std::make_unique<CpuDevice>(threads);
}

}  // namespace hetune
