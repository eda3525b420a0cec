// The CPU device with a clock that a test writes: what is timed takes what the script says, to the
// last digit, and need not be executed. All else runs as it is.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/device/cpu_device.h"

namespace hetune {

struct ScriptedLaunch {
    std::string entry;
    LaunchShape shape;
    int waves() const { return static_cast<int>(shape.threads / 32); }
};

class ScriptedDevice : public Device {
  public:
    // Microseconds of a launch.
    std::function<double(const ScriptedLaunch&)> cost_us = [](const ScriptedLaunch&) {
        return 1.0;
    };
    // A kernel that leaves half of its groups out.
    std::function<bool(const ScriptedLaunch&)> broken = [](const ScriptedLaunch&) { return false; };
    std::string name = "scripted";
    std::string driver = "scripted";  // certificates are of this driver alone
    int timings = 0;                  // calls of time_ms

    const Arch& arch() const override { return inner_->arch(); }
    DeviceInfo info() const override {
        DeviceInfo info = inner_->info();
        info.name = name;
        info.driver = driver;
        return info;
    }
    std::unique_ptr<Buffer> allocate(size_t bytes) override { return inner_->allocate(bytes); }
    std::unique_ptr<Buffer> adopt(std::span<const std::byte> host) override {
        return inner_->adopt(host);
    }
    void upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
        inner_->upload(to, offset, from);
    }
    void download(std::span<std::byte> to, const Buffer& from, size_t offset) override {
        inner_->download(to, from, offset);
    }
    void fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) override {
        inner_->fill(buffer, offset, bytes, value);
    }
    std::unique_ptr<Module> load(const CodeObject& code) override {
        return std::make_unique<Loaded>(code.entry, inner_->load(code));
    }
    void launch(Module& module, const LaunchShape& shape,
                std::span<const std::byte> args) override {
        auto& loaded = static_cast<Loaded&>(module);
        ScriptedLaunch one{loaded.entry, shape};
        if (recording_ != nullptr) recording_->launches.push_back(one);
        if (timing_ && recording_ == nullptr) {
            clock_us_ += cost_us(one);
            return;
        }
        LaunchShape done = shape;
        if (broken(one)) done.groups[0] = (done.groups[0] + 1) / 2;
        inner_->launch(*loaded.inner, done, args);
    }
    void synchronize() override { inner_->synchronize(); }
    std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
        auto graph = std::make_unique<Recorded>();
        recording_ = graph.get();
        graph->inner = inner_->capture(record);
        recording_ = nullptr;
        return graph;
    }
    void replay(Graph& graph) override {
        auto& recorded = static_cast<Recorded&>(graph);
        if (!timing_) return inner_->replay(*recorded.inner);
        for (const ScriptedLaunch& launch : recorded.launches) clock_us_ += cost_us(launch);
    }
    HostMemory allocate_host(size_t bytes) override { return inner_->allocate_host(bytes); }
    std::unique_ptr<Mark> make_mark() override { return inner_->make_mark(); }
    void record(Mark& mark) override { inner_->record(mark); }
    void wait(Mark& mark) override { inner_->wait(mark); }
    double time_ms(const std::function<void()>& work) override {
        ++timings;
        timing_ = true;
        clock_us_ = 0;
        work();
        timing_ = false;
        return clock_us_ / 1e3;
    }

  private:
    struct Loaded : Module {
        Loaded(std::string name, std::unique_ptr<Module> module)
            : entry(std::move(name)), inner(std::move(module)) {}
        std::string entry;
        std::unique_ptr<Module> inner;
    };
    struct Recorded : Graph {
        std::unique_ptr<Graph> inner;
        std::vector<ScriptedLaunch> launches;
    };
    std::unique_ptr<Device> inner_ = open_cpu_device(1);
    Recorded* recording_ = nullptr;
    bool timing_ = false;
    double clock_us_ = 0;
};

}  // namespace hetune
