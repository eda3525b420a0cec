// Tiles on their way from the store to a device with memory of its own.
#include "runtime/load/weights.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runtime/load/model_plans.h"
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

Contents load(TileStore& store,
              const std::filesystem::path& model = kModels + "/tiny-Q4_K_M.gguf") {
    DiscreteDevice device;
    const ModelFile file(model);
    const LayerGraph graph = build_layer_graph(file);
    const auto wanted = model_plans(graph, file, device.arch(), {}).buffers();
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

// As a loader without a store has them.
std::map<std::string, std::vector<std::byte>> truth(const std::filesystem::path& model) {
    TileStore none({});
    return load(none, model).buffers;
}

void flip(const std::filesystem::path& path, uint64_t at) {
    const int file = open(path.c_str(), O_RDWR);
    unsigned char byte = 0;
    REQUIRE(pread(file, &byte, 1, static_cast<off_t>(at)) == 1);
    byte ^= 0x10;
    REQUIRE(pwrite(file, &byte, 1, static_cast<off_t>(at)) == 1);
    close(file);
}

TEST_CASE("a model of which one byte changed is another one, however it changed") {
    namespace fs = std::filesystem;
    const TestFolder folder;
    const fs::path model = folder.path() / "model.gguf";
    const fs::path original = kModels + "/tiny-Q4_K_M.gguf";
    uint64_t first = 0, last = 0, middle = 0;  // bytes of tiles, in the file
    {
        const ModelFile file(original);
        const Tensor& tensor = file.tensor("blk.0.ffn_up.weight");
        const auto start = static_cast<uint64_t>(tensor.data.data() - file.headers()[0].data());
        REQUIRE(start >= file.headers()[0].size());
        first = start + 20;
        middle = start + static_cast<uint64_t>(tensor.bytes()) / 2;
        last = start + static_cast<uint64_t>(tensor.bytes()) - 1;
    }
    // 0: as a model too large to be read at each start is treated.
    for (const uint64_t hashed_bytes : {uint64_t{1} << 30, uint64_t{0}}) {
        CAPTURE(hashed_bytes);
        TileStore store({.folder = folder.path() / std::to_string(hashed_bytes),
                         .hashed_model_bytes = hashed_bytes});
        fs::copy_file(original, model, fs::copy_options::overwrite_existing);
        CHECK(load(store, model).repacked);
        CHECK(!load(store, model).repacked);
        for (const uint64_t at : {first, middle, last}) {  // in place, the time put back
            CAPTURE(at);
            const auto time = fs::last_write_time(model);
            flip(model, at);
            fs::last_write_time(model, time);
            const Contents changed = load(store, model);
            CHECK(changed.repacked);
            CHECK(changed.buffers == truth(model));
            CHECK(load(store, model).buffers == truth(model));
        }
        // Another file under the same name, as a finished download is renamed.
        const fs::path other = folder.path() / "other.gguf";
        fs::copy_file(original, other, fs::copy_options::overwrite_existing);
        flip(other, middle + 3);
        fs::last_write_time(other, fs::last_write_time(model));
        fs::rename(other, model);
        CHECK(load(store, model).buffers == truth(model));
        // The first file again: its pack is still there, and is its own.
        const Contents back = load(store, original);
        CHECK(back.buffers == truth(original));
        CHECK(load(store, model).buffers == truth(model));
    }
}

TEST_CASE("a writer that has the model mapped changes no time stamp, and is noticed all the same") {
    namespace fs = std::filesystem;
    const TestFolder folder;
    const fs::path model = folder.path() / "model.gguf";
    fs::copy_file(kModels + "/tiny-Q4_K_M.gguf", model);
    const uint64_t bytes = fs::file_size(model);
    TileStore store({.folder = folder.path() / "cache"});
    const int file = open(model.c_str(), O_RDWR);
    auto* map = static_cast<unsigned char*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    REQUIRE(map != MAP_FAILED);
    for (uint64_t at = bytes / 2; at < bytes; at += bytes / 8) {
        map[at] ^= 1;
        CHECK(load(store, model).buffers == truth(model));
    }
    munmap(map, bytes);
    close(file);
}

TEST_CASE("a comparison on demand finds what samples of a large file miss") {
    namespace fs = std::filesystem;
    using State = ModelTiles::Comparison::State;
    const TestFolder folder;
    const fs::path model = folder.path() / "model.gguf";
    fs::copy_file(kModels + "/tiny-Q4_K_M.gguf", model);
    // 0: as a model too large to be read at each start is treated.
    TileStore store({.folder = folder.path() / "cache", .hashed_model_bytes = 0});
    const auto compare = [&](bool mend) {
        const ModelFile file(model);
        return ModelTiles(file, store).compare_whole(mend).state;
    };
    CHECK(compare(false) == State::kNone);
    load(store, model);
    CHECK(compare(false) == State::kSame);
    uint64_t between = 0;  // two of the 64 pages of 4096 bytes that are samples
    {
        const ModelFile file(model);
        const Tensor& tensor = file.tensor("token_embd.weight");
        REQUIRE(tensor.bytes() > 2 * 64 * 4096);
        between = tensor.offset + 6000;
    }
    flip(model, between);
    CHECK(compare(false) == State::kOther);
    CHECK(compare(true) == State::kOther);
    CHECK(load(store, model).buffers == truth(model));
    const auto packs = list_tile_packs(folder.path() / "cache");
    REQUIRE(!packs.empty());
    for (const TilePackFile& pack : packs) flip(pack.path, pack.bytes / 2);
    CHECK(compare(true) == State::kDamaged);
    CHECK(load(store, model).buffers == truth(model));
}

TEST_CASE("a changed vocabulary makes another model") {
    namespace fs = std::filesystem;
    const TestFolder folder;
    const fs::path model = folder.path() / "model.gguf";
    fs::copy_file(kModels + "/tiny-Q4_K_M.gguf", model);
    const auto identity = [&](bool whole) { return identify_model(ModelFile(model), whole); };
    const CacheKey before = identity(true), sampled = identity(false);
    CHECK(before != sampled);
    std::string text;
    {
        std::ifstream file(model, std::ios::binary);
        text.assign(std::istreambuf_iterator<char>(file), {});
    }
    const size_t token = text.find("the");  // in the vocabulary
    REQUIRE(token < ModelFile(model).headers()[0].size());
    std::fstream(model, std::ios::in | std::ios::out | std::ios::binary)
        .seekp(static_cast<std::streamoff>(token))
        .put('T');
    CHECK(identity(true) != before);
    CHECK(identity(false) != sampled);
}

}  // namespace
}  // namespace hetune
