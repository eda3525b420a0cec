#include "runtime/device/emulator_device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "runtime/compile/child.h"
#include "runtime/compile/environment.h"
#include "runtime/device/recording.h"

namespace hetune {
namespace {

constexpr std::chrono::minutes kLaunchLimit{30};
constexpr uint64_t kFirstAddress = 0x7a0000000000;  // where no argument that is a number gets to
constexpr uint64_t kSpacing = 1 << 21;

using Bytes = std::vector<std::byte>;

void write_file(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) throw DeviceError(fmt::format("emulator: cannot write {}", path));
}

Bytes read_file(const std::string& path, size_t bytes) {
    Bytes content(bytes);
    std::ifstream file(path, std::ios::binary);
    if (!file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(bytes)))
        throw DeviceError(fmt::format("emulator: {} bytes expected in {}", bytes, path));
    return content;
}

class EmulatorBuffer;
using LiveBuffers = std::map<uint64_t, EmulatorBuffer*>;

class EmulatorBuffer : public Buffer {
  public:
    EmulatorBuffer(LiveBuffers& live, uint64_t address, size_t bytes)
        : memory(bytes), live_(live), address_(address) {
        live_.emplace(address_, this);
    }
    ~EmulatorBuffer() override { live_.erase(address_); }
    EmulatorBuffer(const EmulatorBuffer&) = delete;
    EmulatorBuffer& operator=(const EmulatorBuffer&) = delete;

    uint64_t address() const override { return address_; }
    size_t bytes() const override { return memory.size(); }
    void check(size_t offset, size_t count) const {
        if (offset > memory.size() || count > memory.size() - offset)
            throw DeviceError(fmt::format("emulator: access of {} bytes at {} in a buffer of {}",
                                          count, offset, memory.size()));
    }

    Bytes memory;

  private:
    LiveBuffers& live_;
    uint64_t address_;
};

struct EmulatorModule : Module {
    std::string object;  // file
    std::string entry;
};

struct EmulatedLaunch {
    const EmulatorModule* module;
    LaunchShape shape;
    Bytes args;
};
struct EmulatorGraph : Graph {
    std::vector<EmulatedLaunch> launches;
};

// A buffer that a launch hands out, and where the program leaves what became of it.
struct Handed {
    EmulatorBuffer* buffer;
    std::string result;
};

// Takes over the bytes that the kernel changed: with a buffer handed out twice, each copy has only
// the changes made through its own argument.
void take_changes(const std::vector<Handed>& all, const std::string& entry) {
    std::vector<Bytes> results;
    for (const Handed& handed : all)
        results.push_back(read_file(handed.result, handed.buffer->bytes()));
    std::map<EmulatorBuffer*, Bytes> merged;
    for (size_t i = 0; i < all.size(); ++i) {
        const Bytes& before = all[i].buffer->memory;
        Bytes& now = merged.try_emplace(all[i].buffer, before).first->second;
        for (size_t b = 0; b < before.size(); ++b) {
            if (results[i][b] == before[b]) continue;
            if (now[b] != before[b] && now[b] != results[i][b])
                throw DeviceError(fmt::format(
                    "emulator: {} wrote byte {} of a buffer through two arguments", entry, b));
            now[b] = results[i][b];
        }
    }
    for (auto& [buffer, bytes] : merged) std::ranges::copy(bytes, buffer->memory.begin());
}

class EmulatorDevice : public Device {
  public:
    EmulatorDevice(std::string program, const Arch& arch, EmulatorOptions options)
        : program_(std::move(program)), arch_(arch), options_(std::move(options)) {}

    const Arch& arch() const override { return arch_; }
    DeviceInfo info() const override {
        const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
        return {.backend = "emulator",
                .name = fmt::format("{} emulated", arch_.name),
                .driver = program_,
                .memory_bytes = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * page,
                .free_bytes = static_cast<uint64_t>(sysconf(_SC_AVPHYS_PAGES)) * page,
                .compute_units = 1};
    }

    std::unique_ptr<Buffer> allocate(size_t bytes) override {
        const uint64_t address = next_address_;
        next_address_ += (bytes / kSpacing + 2) * kSpacing;
        return std::make_unique<EmulatorBuffer>(live_, address, bytes);
    }
    void upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
        std::ranges::copy(from, at(to, "upload", offset, from.size()));
    }
    void download(std::span<std::byte> to, const Buffer& from, size_t offset) override {
        const auto begin = at(const_cast<Buffer&>(from), "download", offset, to.size());
        std::copy_n(begin, to.size(), to.begin());
    }
    void fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) override {
        std::fill_n(at(buffer, "fill", offset, bytes), bytes, std::byte{value});
    }

    std::unique_ptr<Module> load(const CodeObject& code) override {
        auto module = std::make_unique<EmulatorModule>();
        module->object = fmt::format("{}/{}.co", objects_.path(), loaded_++);
        module->entry = code.entry;
        write_file(module->object, code.bytes);
        return module;
    }
    void launch(Module& module, const LaunchShape& shape,
                std::span<const std::byte> args) override {
        const EmulatedLaunch launch{
            static_cast<EmulatorModule*>(&module), shape, {args.begin(), args.end()}};
        if (recording_ != nullptr)
            recording_->launches.push_back(launch);
        else
            run(launch);
    }
    void synchronize() override {}  // launches return when they are done

    std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
        not_while_capturing("capture");
        auto graph = std::make_unique<EmulatorGraph>();
        record_into(recording_, *graph, record);
        return graph;
    }
    void replay(Graph& graph) override {
        for (const EmulatedLaunch& launch : static_cast<EmulatorGraph&>(graph).launches)
            run(launch);
    }
    HostMemory allocate_host(size_t bytes) override {
        const uint64_t address = next_address_;
        next_address_ += (bytes / kSpacing + 2) * kSpacing;
        auto buffer = std::make_unique<EmulatorBuffer>(live_, address, bytes);
        std::byte* const at = buffer->memory.data();
        return {std::move(buffer), at};
    }
    std::unique_ptr<Mark> make_mark() override { return std::make_unique<Mark>(); }
    void record(Mark&) override {}
    void wait(Mark&) override {}

    // Of the emulator, which says nothing of a GPU.
    double time_ms(const std::function<void()>& work) override {
        const auto start = std::chrono::steady_clock::now();
        work();
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count();
    }

  private:
    void not_while_capturing(const char* call) const {
        if (recording_ != nullptr)
            throw DeviceError(
                fmt::format("emulator: {} while capturing, which only launches", call));
    }
    Bytes::iterator at(Buffer& buffer, const char* call, size_t offset, size_t count) const {
        not_while_capturing(call);
        auto& mine = static_cast<EmulatorBuffer&>(buffer);
        mine.check(offset, count);
        return mine.memory.begin() + static_cast<std::ptrdiff_t>(offset);
    }

    EmulatorBuffer* buffer_at(uint64_t address) const {
        auto next = live_.upper_bound(address);
        if (next == live_.begin()) return nullptr;
        EmulatorBuffer* buffer = std::prev(next)->second;
        return address - buffer->address() <= buffer->bytes() ? buffer : nullptr;
    }

    // One entry for each argument, and the buffers written to files beside it.
    nlohmann::json describe(const EmulatedLaunch& launch, const std::string& folder,
                            std::vector<Handed>& handed) const {
        if (launch.args.size() % sizeof(uint64_t) != 0)
            throw DeviceError(
                fmt::format("emulator: {}: {} bytes of arguments; only 8-byte ones are understood",
                            launch.module->entry, launch.args.size()));
        nlohmann::json args = nlohmann::json::array();
        for (size_t i = 0; i < launch.args.size() / sizeof(uint64_t); ++i) {
            uint64_t value;
            std::memcpy(&value, launch.args.data() + i * sizeof value, sizeof value);
            EmulatorBuffer* buffer = buffer_at(value);
            if (buffer == nullptr) {
                if (value >= kFirstAddress && value < next_address_)
                    throw DeviceError(
                        fmt::format("emulator: {}: argument {} points into no live buffer",
                                    launch.module->entry, i));
                args.push_back({{"type", "u64"}, {"value", value}});
                continue;
            }
            const std::string file = fmt::format("{}/{}.bin", folder, i);
            write_file(file, buffer->memory);
            handed.push_back({buffer, file + ".out"});
            args.push_back({{"type", "buffer"},
                            {"name", fmt::format("argument {}", i)},
                            {"dir", "inout"},
                            {"file", file},
                            {"out", file + ".out"},
                            {"bytes", buffer->bytes()},
                            {"offset", value - buffer->address()}});
        }
        return args;
    }

    void run(const EmulatedLaunch& launch) {
        const ScratchFolder folder;
        std::vector<Handed> handed;
        const std::string args = folder.path() + "/args.json";
        const std::string summary = folder.path() + "/summary.json";
        const std::string text = describe(launch, folder.path(), handed).dump();
        write_file(args, std::as_bytes(std::span(text)));
        const auto& g = launch.shape.groups;
        std::vector<std::string> command = {program_,
                                            launch.module->object,
                                            launch.module->entry,
                                            "--grid",
                                            fmt::format("{},{},{}", g[0], g[1], g[2]),
                                            "--block",
                                            fmt::format("{},1,1", launch.shape.threads),
                                            "--lds",
                                            std::to_string(launch.shape.lds_bytes),
                                            "--args",
                                            args,
                                            "--summary",
                                            summary,
                                            "--strict"};
        if (!options_.schedule.empty())
            command.insert(command.end(), {"--sched", options_.schedule});
        if (!options_.poison.empty()) command.insert(command.end(), {"--poison", options_.poison});
        const ChildResult result = run_child(command, "", kLaunchLimit, folder.path());
        if (!result.ok())
            throw DeviceError(
                fmt::format("emulator: {}: {}", launch.module->entry, reason(result, summary)));
        take_changes(handed, launch.module->entry);
    }

    // The summary's own words, or what the program said last.
    static std::string reason(const ChildResult& result, const std::string& summary) {
        std::ifstream file(summary);
        const auto json = nlohmann::json::parse(file, nullptr, false);
        if (json.is_object()) {
            auto reasons = json.value("findings", std::vector<std::string>());
            if (json.contains("error"))
                reasons.insert(reasons.begin(), json["error"].get<std::string>());
            if (!reasons.empty())
                return fmt::format("{}: {}", json.value("status", "failed"),
                                   fmt::join(reasons, "; "));
        }
        const std::string& said = result.errors;
        const size_t end = said.find_last_not_of('\n');
        if (end == std::string::npos) return result.outcome;
        const size_t line = said.rfind('\n', end);
        return fmt::format("{}: {}", result.outcome,
                           said.substr(line == std::string::npos ? 0 : line + 1, end - line));
    }

    std::string program_;
    const Arch& arch_;
    EmulatorOptions options_;
    ScratchFolder objects_;
    int loaded_ = 0;
    LiveBuffers live_;
    uint64_t next_address_ = kFirstAddress;
    EmulatorGraph* recording_ = nullptr;
};

std::unique_ptr<Device> open_named_emulator() {
    const Environment environment = read_environment();
    if (environment.emulator.empty())
        throw DeviceError("emulator: HETUNE_EMULATOR names no program");
    if (access(environment.emulator.c_str(), X_OK) != 0)
        throw DeviceError(fmt::format("emulator: HETUNE_EMULATOR={} is no program that can be run",
                                      environment.emulator));
    return open_emulator(environment.emulator,
                         environment.emulator_arch.empty() ? "gfx1100" : environment.emulator_arch);
}

const RegisterBackend kEmulator{{
    .name = "emulator",
    .preference = -10,  // below the CPU, which is always there
    .description = "AMD code objects on an instruction emulator, for tests",
    .devices =
        [] {
            const auto device = open_named_emulator();
            return std::vector<FoundDevice>{
                {.name = device->info().name, .arch = device->arch().name}};
        },
    .open = [](int) { return open_named_emulator(); },
}};

}  // namespace

std::unique_ptr<Device> open_emulator(const std::string& program, const std::string& arch,
                                      const EmulatorOptions& options) {
    try {
        return std::make_unique<EmulatorDevice>(program, find_arch(arch), options);
    } catch (const DeviceError&) {
        throw;
    } catch (const std::runtime_error& unknown) {
        throw DeviceError(fmt::format("emulator: {}", unknown.what()));
    }
}

}  // namespace hetune
