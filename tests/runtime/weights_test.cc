// Tiles on their way from the store to a device with memory of its own.
#include "runtime/weights.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "runtime/session_plans.h"
#include "tests/cache/test_folder.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/scripted_device.h"

namespace hetune {
namespace {

class DiscreteDevice : public ScriptedDevice {
  public:
    DeviceInfo info() const override {
        DeviceInfo info = ScriptedDevice::info();
        info.unified_memory = false;
        return info;
    }
    std::unique_ptr<Buffer> adopt(std::span<const std::byte> host) override {
        return Device::adopt(host);
    }
};

// What was loaded, by name, and whether it had to be repacked for that.
struct Contents {
    std::map<std::string, std::vector<std::byte>> buffers;
    bool repacked;
};

Contents load(TileStore& store) {
    DiscreteDevice device;
    const ModelFile file(kModels + "/tiny-Q4_K_M.gguf");
    const LayerGraph graph = build_layer_graph(file);
    const auto wanted = session_plans(graph, file, device.arch(), {}).buffers();
    Weights weights(device, file, graph, &store);
    weights.load(wanted);
    Contents contents{{}, weights.repacked()};
    for (const PlanBuffer& buffer : wanted) {
        if (buffer.role != BufferRole::kTiles) continue;
        auto& bytes = contents.buffers[buffer.name];
        bytes.resize(weights.find(buffer.name)->bytes());
        device.download(bytes, *weights.find(buffer.name), 0);
    }
    return contents;
}

TEST_CASE("tiles are checked as they are uploaded; of a damaged pack none is used") {
    const TestFolder folder;
    TileStore store({.folder = folder.path() / "cache"});
    const Contents first = load(store);
    CHECK(first.repacked);
    REQUIRE(first.buffers.size() > 10);
    const Contents again = load(store);
    CHECK(!again.repacked);
    CHECK(again.buffers == first.buffers);

    std::filesystem::path pack;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
        if (entry.path().extension() == ".tiles") pack = entry.path();
    REQUIRE(!pack.empty());
    const auto bytes = std::filesystem::file_size(pack);
    for (const uint64_t at : {bytes / 3, bytes / 2, bytes - 4096}) {
        CAPTURE(at);
        std::fstream file(pack, std::ios::in | std::ios::out | std::ios::binary);
        file.seekg(static_cast<std::streamoff>(at));
        const auto old = static_cast<char>(file.get());
        file.seekp(static_cast<std::streamoff>(at));
        file.put(static_cast<char>(old ^ 4));
        file.close();
        const Contents damaged = load(store);
        CHECK(damaged.repacked);
        CHECK(damaged.buffers == first.buffers);
        CHECK(!load(store).repacked);
    }
}

}  // namespace
}  // namespace hetune
