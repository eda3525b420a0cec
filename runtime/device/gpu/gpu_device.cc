#include "runtime/device/gpu/gpu_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "runtime/device/gpu/staged_uploads.h"

namespace hetune {
namespace {

class GpuBuffer : public Buffer {
  public:
    // `owned` is what `release` gets: the device's address, or the host's of registered memory.
    GpuBuffer(void* address, size_t bytes, Handle owned)
        : address_(static_cast<std::byte*>(address)), bytes_(bytes), owned_(std::move(owned)) {}

    uint64_t address() const override { return reinterpret_cast<uint64_t>(address_); }
    size_t bytes() const override { return bytes_; }
    std::byte* at(const std::string& backend, size_t offset, size_t count) const {
        if (offset > bytes_ || count > bytes_ - offset)
            throw DeviceError(fmt::format("{}: access of {} bytes at {} in a buffer of {}", backend,
                                          count, offset, bytes_));
        return address_ + offset;
    }

  private:
    std::byte* address_;
    size_t bytes_;
    Handle owned_;
};

struct GpuModule : Module {
    GpuModule(Handle m, void* f, std::string e)
        : module(std::move(m)), function(f), entry(std::move(e)) {}
    Handle module;
    void* function;
    std::string entry;
};

struct GpuMark : Mark {
    explicit GpuMark(Handle e) : event(std::move(e)) {}
    Handle event;
};

struct GpuGraph : Graph {
    explicit GpuGraph(Handle e, Handle l = {}) : loop(std::move(l)), executable(std::move(e)) {}
    Handle loop;  // the handle that its launches have is that of this graph
    Handle executable;
};

class GpuDevice : public Device {
  public:
    GpuDevice(GpuApi api, int ordinal, const Arch& arch)
        : context_{std::move(api), {}}, arch_(arch), facts_(context_.api.facts(ordinal)) {
        context_.make_current = context_.api.attach(ordinal);
        enter("open");
        stream_ = make(api_.stream_create, api_.stream_destroy, kStreamNonBlocking);
        staging_ = std::make_unique<StagedUploads>(context_);
        begin_ = make(api_.event_create, api_.event_destroy, 0u);
        end_ = make(api_.event_create, api_.event_destroy, 0u);
        done_ =
            make(api_.event_create, api_.event_destroy, kEventBlockingSync | kEventDisableTiming);
    }

    const Arch& arch() const override { return arch_; }
    DeviceInfo info() const override {
        size_t free = 0, total = 0;
        if (context_.make_current() != 0 || api_.memory_info(&free, &total) != 0) free = total = 0;
        return {.backend = api_.backend,
                .name = facts_.name,
                .driver = facts_.driver,
                .memory_bytes = total,
                .free_bytes = free,
                .compute_units = facts_.compute_units,
                .unified_memory = facts_.unified_memory,
                .graph_loops = facts_.graph_loops};
    }

    std::unique_ptr<Buffer> allocate(size_t bytes) override {
        enter("allocate");
        void* address = nullptr;
        gpu_check(api_, api_.allocate(&address, std::max<size_t>(bytes, 1)),
                  fmt::format("{} of {} bytes", api_.allocate.name, bytes));
        return std::make_unique<GpuBuffer>(address, bytes, own(address, api_.free));
    }

    std::unique_ptr<Buffer> adopt(std::span<const std::byte> host) override {
        enter("adopt");
        void* start = const_cast<std::byte*>(host.data());
        constexpr unsigned kFlags =
            kHostRegisterPortable | kHostRegisterMapped | kHostRegisterReadOnly;
        // Memory that the driver will not map (some file systems, old runtimes) is copied.
        if (!facts_.unified_memory || host.empty() ||
            api_.host_register(start, host.size(), kFlags) != 0)
            return Device::adopt(host);
        Handle registration = own(start, api_.host_unregister);
        void* address = nullptr;
        gpu_check(api_, api_.host_address(&address, start, 0), api_.host_address.name);
        return std::make_unique<GpuBuffer>(address, host.size(), std::move(registration));
    }

    void upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
        enter("upload");
        void* address = static_cast<GpuBuffer&>(to).at(api_.backend, offset, from.size());
        if (from.empty()) return;
        if (from.size() >= StagedUploads::kLeastBytes) {
            poison_on_failure([&] { staging_->upload(address, from, stream_.get()); });
            return;
        }
        stream_check(api_.to_device(address, from.data(), from.size(), stream_.get()),
                     fmt::format("{} of {} bytes", api_.to_device.name, from.size()));
        wait();
    }
    void upload_all(std::span<const MadeUpload> uploads) override {
        enter("upload_all");
        poison_on_failure([&] { staging_->upload_all(uploads, stream_.get()); });
    }
    void download(std::span<std::byte> to, const Buffer& from, size_t offset) override {
        enter("download");
        const void* address =
            static_cast<const GpuBuffer&>(from).at(api_.backend, offset, to.size());
        if (to.empty()) return;
        stream_check(api_.to_host(to.data(), address, to.size(), stream_.get()),
                     fmt::format("{} of {} bytes", api_.to_host.name, to.size()));
        wait();
    }
    void fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) override {
        enter("fill");
        void* address = static_cast<GpuBuffer&>(buffer).at(api_.backend, offset, bytes);
        if (bytes == 0) return;
        stream_check(api_.fill(address, value, bytes, stream_.get()), api_.fill.name);
    }

    void copy(const Place& to, const Place& from, size_t bytes) override {
        enter("copy");
        void* target = static_cast<GpuBuffer&>(to.buffer).at(api_.backend, to.offset, bytes);
        void* source = static_cast<GpuBuffer&>(from.buffer).at(api_.backend, from.offset, bytes);
        if (bytes == 0) return;
        stream_check(api_.on_device(target, source, bytes, stream_.get()), api_.on_device.name);
    }

    std::unique_ptr<Module> load(const CodeObject& code) override {
        enter("load");
        void *module = nullptr, *function = nullptr;
        gpu_check(api_, api_.module_load(&module, code.bytes.data()),
                  fmt::format("{} of {}", api_.module_load.name, code.entry));
        Handle owned = own(module, api_.module_unload);
        gpu_check(api_, api_.module_function(&function, module, code.entry.c_str()),
                  fmt::format("{} of {}", api_.module_function.name, code.entry));
        return std::make_unique<GpuModule>(std::move(owned), function, code.entry);
    }

    void launch(Module& module, const LaunchShape& shape,
                std::span<const std::byte> args) override {
        refuse_if_poisoned("launch");
        const auto& kernel = static_cast<GpuModule&>(module);
        if (!capturing_) make_current();
        size_t bytes = args.size();
        void* extra[] = {kLaunchParamsPointer, const_cast<std::byte*>(args.data()),
                         kLaunchParamsSize, &bytes, api_.launch_params_end};
        const int status =
            facts_.overlaps_launches && shape.overlaps
                ? launch_overlapped(kernel.function, shape, extra)
                : api_.launch(kernel.function, shape.groups[0], shape.groups[1], shape.groups[2],
                              shape.threads, 1, 1, shape.lds_bytes, stream_.get(), nullptr, extra);
        if (status == 0) return;
        stream_check(status, fmt::format("{} of {} with {} x {} x {} groups of {} threads",
                                         api_.launch.name, kernel.entry, shape.groups[0],
                                         shape.groups[1], shape.groups[2], shape.threads));
    }
    void synchronize() override {
        enter("synchronize");
        wait();
    }

    std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
        enter("capture");
        gpu_check(api_, api_.capture_begin(stream_.get(), kCaptureThreadLocal),
                  api_.capture_begin.name);
        capturing_ = true;
        try {
            record();
        } catch (...) {
            end_capture().reset();
            throw;
        }
        const Handle graph = end_capture();
        if (graph == nullptr) gpu_check(api_, capture_status_, api_.capture_end.name);
        return std::make_unique<GpuGraph>(
            make(api_.graph_instantiate, api_.executable_destroy, graph.get(), 0ull));
    }
    std::unique_ptr<Graph> capture_loop(Buffer& handle,
                                        const std::function<void()>& record) override {
        enter("capture_loop");
        GpuLoop loop;
        if (!facts_.graph_loops || api_.make_loop(&loop) != 0) return nullptr;
        Handle graph = own(loop.graph, api_.graph_destroy);
        upload(handle, 0, std::as_bytes(std::span(&loop.handle, 1)));
        if (api_.capture_to(stream_.get(), loop.body, nullptr, nullptr, 0, kCaptureThreadLocal) !=
            0)
            return nullptr;
        capturing_ = true;
        const auto end = [&] {
            void* body = nullptr;  // belongs to the graph
            capturing_ = false;
            return api_.capture_end(stream_.get(), &body);
        };
        try {
            record();
        } catch (...) {
            end();
            if (poison_.empty()) throw;
            // A launch that a body may not have was not run: the device is as it was. After any
            // other failure it does not work any more, and waiting for it says so.
            poison_.clear();
            wait();
            return nullptr;
        }
        void* executable = nullptr;
        if (end() != 0 || api_.graph_instantiate(&executable, graph.get(), 0) != 0) return nullptr;
        return std::make_unique<GpuGraph>(own(executable, api_.executable_destroy),
                                          std::move(graph));
    }
    void replay(Graph& graph) override {
        enter("replay");
        stream_check(
            api_.graph_launch(static_cast<GpuGraph&>(graph).executable.get(), stream_.get()),
            api_.graph_launch.name);
    }

    HostMemory allocate_host(size_t bytes) override {
        enter("allocate_host");
        void *host = nullptr, *address = nullptr;
        gpu_check(api_,
                  api_.host_allocate(&host, std::max<size_t>(bytes, 1),
                                     kHostAllocatePortable | kHostAllocateMapped),
                  fmt::format("{} of {} bytes", api_.host_allocate.name, bytes));
        Handle owned = own(host, api_.host_free);
        gpu_check(api_, api_.host_address(&address, host, 0), api_.host_address.name);
        return {std::make_unique<GpuBuffer>(address, bytes, std::move(owned)),
                static_cast<std::byte*>(host)};
    }
    std::unique_ptr<Mark> make_mark() override {
        enter("make_mark");
        return std::make_unique<GpuMark>(
            make(api_.event_create, api_.event_destroy, kEventBlockingSync | kEventDisableTiming));
    }
    void record(Mark& mark) override {
        enter("record");
        stream_check(api_.event_record(static_cast<GpuMark&>(mark).event.get(), stream_.get()),
                     api_.event_record.name);
    }
    void wait(Mark& mark) override {
        enter("wait");
        stream_check(api_.event_synchronize(static_cast<GpuMark&>(mark).event.get()),
                     api_.event_synchronize.name);
    }

    double time_ms(const std::function<void()>& work) override {
        enter("time_ms");
        stream_check(api_.event_record(begin_.get(), stream_.get()), api_.event_record.name);
        work();
        stream_check(api_.event_record(end_.get(), stream_.get()), api_.event_record.name);
        stream_check(api_.event_synchronize(end_.get()), api_.event_synchronize.name);
        float ms = 0;
        gpu_check(api_, api_.event_elapsed(&ms, begin_.get(), end_.get()), api_.event_elapsed.name);
        return ms;
    }

    void* native_stream() override { return stream_.get(); }

  private:
    Handle own(void* handle, const DriverCall<int(void*)>& release) {
        return Handle(handle, Release{&context_, release});
    }
    template <class Create, class... Args>
    Handle make(const Create& create, const DriverCall<int(void*)>& release, Args... args) {
        return made_handle(context_, create, release, args...);
    }
    int launch_overlapped(void* function, const LaunchShape& shape, void** extra) {
        LaunchAttribute overlap{.id = kOverlapPredecessor, .pad = {}, .value = {}};
        overlap.value.flag = 1;
        const LaunchConfig config{.groups = {shape.groups[0], shape.groups[1], shape.groups[2]},
                                  .threads = {shape.threads, 1, 1},
                                  .lds_bytes = shape.lds_bytes,
                                  .stream = stream_.get(),
                                  .attributes = &overlap,
                                  .attribute_count = 1};
        return api_.launch_overlapped(&config, function, nullptr, extra);
    }
    Handle end_capture() {
        void* graph = nullptr;
        capturing_ = false;
        capture_status_ = api_.capture_end(stream_.get(), &graph);
        return own(graph, api_.graph_destroy);
    }

    // Begins every call but a launch, which is all that may be captured.
    void enter(const char* call) {
        refuse_if_poisoned(call);
        if (capturing_)
            throw DeviceError(
                fmt::format("{}: {} while capturing, which only launches", api_.backend, call));
        make_current();
    }
    void refuse_if_poisoned(const char* call) const {
        if (!poison_.empty())
            throw DeviceError(
                fmt::format("{}: {} refused, the device failed before and must be "
                            "opened by a new process: {}",
                            api_.backend, call, poison_));
    }
    void make_current() const { gpu_check(api_, context_.make_current(), api_.attach_name); }
    // By an event that sleeps: a driver spins in a stream's synchronisation.
    void wait() {
        stream_check(api_.event_record(done_.get(), stream_.get()), api_.event_record.name);
        stream_check(api_.event_synchronize(done_.get()), api_.event_synchronize.name);
    }
    // `call` is made into text only where there is something to tell.
    void stream_check(int status, std::string_view call) {
        if (status != 0) poison_on_failure([&] { gpu_check(api_, status, std::string(call)); });
    }
    template <class Work>
    void poison_on_failure(Work&& work) {
        try {
            work();
        } catch (const DeviceError& error) {
            poison_ = error.what();
            throw;
        }
    }

    GpuContext context_;
    const GpuApi& api_ = context_.api;
    const Arch& arch_;
    GpuFacts facts_;
    std::unique_ptr<StagedUploads> staging_;
    Handle stream_{nullptr, Release{}}, begin_{nullptr, Release{}}, end_{nullptr, Release{}},
        done_{nullptr, Release{}};
    std::string poison_;  // what failed first
    bool capturing_ = false;
    int capture_status_ = 0;
};

// Cards that the driver runs as another arch of the same instructions when the environment says so.
std::string unknown_arch(const GpuFacts& facts, const std::string& unknown) {
    for (const char* arch : {"gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"})
        if (facts.arch == arch)
            return fmt::format(
                "{} is no arch that hetune knows; HSA_OVERRIDE_GFX_VERSION=10.3.0 "
                "makes HIP run it as gfx1030",
                arch);
    return unknown;
}

}  // namespace

void gpu_check(const GpuApi& api, int status, const std::string& call) {
    if (status == 0) return;
    throw DeviceError(
        fmt::format("{}: {} failed: {} ({})", api.backend, call, status, api.error_text(status)));
}

std::vector<FoundDevice> gpu_devices(const GpuApi& api) {
    int count = 0;
    gpu_check(api, api.device_count(&count), api.device_count.name);
    if (count == 0)
        throw DeviceError(fmt::format("{}: {} finds no device", api.backend, api.library));
    std::vector<FoundDevice> devices;
    for (int i = 0; i < count; ++i) {
        FoundDevice& device = devices.emplace_back(FoundDevice{.ordinal = i});
        std::string why;
        try {
            const GpuFacts facts = api.facts(i);
            device.name = facts.name;
            device.arch = facts.arch;
            device.memory_bytes = facts.memory_bytes;
            device.integrated = facts.unified_memory;
            try {
                find_arch(facts.arch);
            } catch (const std::runtime_error& unknown) {
                why = unknown_arch(facts, unknown.what());
            }
        } catch (const DeviceError& error) {
            why = error.what();
        }
        if (!why.empty())
            device.unusable = fmt::format("{}: device {} ({}): {}", api.backend, i,
                                          device.name.empty() ? "unknown" : device.name, why);
    }
    return devices;
}

std::unique_ptr<Device> open_gpu(GpuApi api, int ordinal) {
    const Arch& arch = find_arch(api.facts(ordinal).arch);
    return std::make_unique<GpuDevice>(std::move(api), ordinal, arch);
}

}  // namespace hetune
