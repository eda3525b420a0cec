#include "cache/tile_store.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <fstream>
#include <thread>

#include "cache/maintenance.h"
#include "cache/model_identity.h"
#include "tests/cache/child_process.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"
#include "tests/skip.h"

namespace hetune {
namespace {

using Tensors = std::vector<TileWriter::Tensor>;

const CacheKey kModel{0x1234, 0x5678};
const CacheKey kSource{0x9abc, 0xdef0};
const std::string kLayout = "rdna3-v1";
const Tensors kTensors = {
    {"token_embd", 10000}, {"blk.0.attn", 4096}, {"blk.0.ffn", 1}, {"none", 0}};

// What tensor `index` holds: different for each tensor and byte.
std::byte sample_byte(size_t index, size_t offset) {
    return static_cast<std::byte>((offset * 7 + offset / 251 + index * 13 + 1) & 0xff);
}

void fill(std::span<std::byte> tensor, size_t index) {
    for (size_t i = 0; i < tensor.size(); ++i) tensor[i] = sample_byte(index, i);
}

bool holds_sample(std::span<const std::byte> tensor, size_t index, uint64_t bytes) {
    if (tensor.size() != bytes) return false;
    for (size_t i = 0; i < tensor.size(); ++i)
        if (tensor[i] != sample_byte(index, i)) return false;
    return true;
}

std::optional<TileWriter> begin(TileStore& store, const CacheKey& model, std::string_view layout,
                                const Tensors& tensors) {
    return store.open_or_begin(model, layout, tensors).writer;
}

// Writes what is not finished; returns how many tensors that were, or -1 without a writer.
int write_pack(TileStore& store, const CacheKey& model, const Tensors& tensors = kTensors) {
    auto writer = begin(store, model, kLayout, tensors);
    if (!writer) return -1;
    int written = 0;
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (writer->finished(i)) continue;
        fill(writer->tensor(i), i);
        writer->finish_tensor(i, kSource);
        ++written;
    }
    CHECK(writer->commit());
    return written;
}

void check_pack(const TilePack& pack) {
    REQUIRE(pack.entries().size() == kTensors.size());
    for (size_t i = 0; i < kTensors.size(); ++i) {
        CHECK(pack.entries()[i].name == kTensors[i].name);
        CHECK(holds_sample(pack.tensor(kTensors[i].name), i, kTensors[i].bytes));
        CHECK(pack.verify(kTensors[i].name));
        if (kTensors[i].bytes > 0)
            CHECK(reinterpret_cast<uintptr_t>(pack.tensor(kTensors[i].name).data()) % 4096 == 0);
    }
    CHECK(pack.tensor("absent").empty());
    CHECK_FALSE(pack.verify("absent"));
}

TEST_CASE("A pack is written once and mapped by every later store") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    CHECK_FALSE(store.open(kModel, kLayout).has_value());
    CHECK_FALSE(store.wait(kModel, kLayout).has_value());
    CHECK(write_pack(store, kModel) == 4);
    const auto pack = store.open(kModel, kLayout);
    REQUIRE(pack.has_value());
    check_pack(*pack);
    CHECK(write_pack(store, kModel) == -1);  // there already
    CHECK_FALSE(store.open(kModel, "other").has_value());
    CHECK_FALSE(store.open({1, 2}, kLayout).has_value());
    check_pack(*TileStore({.layers = {folder.path()}}).open(kModel, kLayout));
}

TEST_CASE("Tensors are filled and finished by many threads") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    Tensors tensors;
    for (int i = 0; i < 300; ++i) tensors.push_back({fmt::format("t{}", i), 5000});
    auto writer = begin(store, kModel, kLayout, tensors);
    REQUIRE(writer.has_value());
    {
        std::atomic<size_t> next = 0;
        std::vector<std::jthread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&] {
                for (size_t i = next++; i < tensors.size(); i = next++) {
                    fill(writer->tensor(i), i);
                    writer->finish_tensor(i, kSource);
                }
            });
    }
    REQUIRE(writer->commit());
    const auto pack = store.open(kModel, kLayout);
    REQUIRE(pack.has_value());
    for (size_t i = 0; i < tensors.size(); ++i)
        CHECK(holds_sample(pack->tensor(tensors[i].name), i, 5000));
}

TEST_CASE("A tensor written in parts is the same as one filled in place") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    auto writer = begin(store, {1, 2}, "parts", {{"a", 10000}, {"b", 10000}});
    REQUIRE(writer.has_value());
    fill(writer->tensor(0), 5);
    const std::vector<std::byte> copy(writer->tensor(0).begin(), writer->tensor(0).end());
    CHECK(writer->write(1, 7000, std::span(copy).subspan(7000)));
    CHECK(writer->write(1, 0, std::span(copy).first(7000)));
    for (const size_t i : {0, 1}) writer->finish_tensor(i, kSource);
    REQUIRE(writer->commit());
    const auto pack = store.open({1, 2}, "parts");
    REQUIRE(pack.has_value());
    CHECK(pack->verify_all());
    CHECK(std::ranges::equal(pack->tensor("a"), pack->tensor("b")));
}

TEST_CASE("A writer killed half-way leaves what it finished to the next") {
    TestFolder folder;
    const pid_t child = start_child([&] {
        TileStore store({.folder = folder.path()});
        auto writer = begin(store, kModel, kLayout, kTensors);
        for (size_t i = 0; i < 2; ++i) {
            fill(writer->tensor(i), i);
            writer->finish_tensor(i, kSource);
        }
        fill(writer->tensor(2), 7);  // begun, not finished
        kill(getpid(), SIGKILL);
        return 0;
    });
    CHECK(wait_for_child(child) == 128 + SIGKILL);
    TileStore store({.folder = folder.path()});
    CHECK_FALSE(store.open(kModel, kLayout).has_value());
    CHECK(write_pack(store, kModel) == 2);
    check_pack(*store.open(kModel, kLayout));
}

TEST_CASE("A finished tensor that did not reach the disk is written again") {
    TestFolder folder;
    {
        TileStore store({.folder = folder.path()});
        auto writer = begin(store, kModel, kLayout, kTensors);
        for (size_t i = 0; i < 3; ++i) {
            fill(writer->tensor(i), i);
            writer->finish_tensor(i, kSource);
        }
        writer->tensor(1)[17] ^= std::byte{1};
    }
    TileStore store({.folder = folder.path()});
    CHECK(write_pack(store, kModel) == 2);
    check_pack(*store.open(kModel, kLayout));
}

TEST_CASE("A partial pack of other tensors is started anew") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    {
        auto writer = begin(store, kModel, kLayout, {{"old", 100000}});
        writer->finish_tensor(0, kSource);
    }
    CHECK(write_pack(store, kModel) == 4);
    check_pack(*store.open(kModel, kLayout));
}

TEST_CASE("A second process waits for the pack that the first one writes") {
    TestFolder folder;
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    const pid_t child = start_child([&] {
        TileStore store({.folder = folder.path()});
        auto writer = begin(store, kModel, kLayout, kTensors);
        if (write(ready[1], "x", 1) != 1) return 1;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        for (size_t i = 0; i < kTensors.size(); ++i) {
            fill(writer->tensor(i), i);
            writer->finish_tensor(i, kSource);
        }
        return writer->commit() ? 0 : 1;
    });
    char byte;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    TileStore store({.folder = folder.path()});
    const auto [pack, writer] = store.open_or_begin(kModel, kLayout, kTensors);
    CHECK_FALSE(writer.has_value());
    REQUIRE(pack.has_value());
    check_pack(*pack);
    CHECK(wait_for_child(child) == 0);
    close(ready[0]);
    close(ready[1]);
}

TEST_CASE("Every flipped byte of head, directory and tensors is found, and every truncation") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    const Tensors tensors = {{"a", 300}, {"b", 200}};
    REQUIRE(write_pack(store, kModel, tensors) == 2);
    const auto path = store.open(kModel, kLayout)->path();
    const auto entries = store.open(kModel, kLayout)->entries();
    const TileHead whole{kModel, kLayout, entries};
    std::ifstream in(path, std::ios::binary);
    const std::string good{std::istreambuf_iterator<char>(in), {}};
    const auto put = [&](const std::string& bytes) {
        std::filesystem::remove(path);
        std::ofstream(path, std::ios::binary) << bytes;
    };
    const size_t head = encode_tile_head(whole, good.size()).size();
    for (size_t i = 0; i < head; ++i) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
        put(bad);
        CAPTURE(i);
        REQUIRE_FALSE(TilePack::open(path).pack.has_value());
    }
    for (const TileEntry& entry : entries)
        for (size_t i = 0; i < entry.bytes; ++i) {
            std::string bad = good;
            bad[entry.offset + i] = static_cast<char>(bad[entry.offset + i] ^ 4);
            put(bad);
            const auto pack = TilePack::open(path).pack;
            REQUIRE(pack.has_value());
            REQUIRE_FALSE(pack->verify(entry.name));
        }
    for (size_t length = 0; length < good.size(); length += length < 700 ? 1 : 257) {
        put(good.substr(0, length));
        REQUIRE_FALSE(TilePack::open(path).pack.has_value());
    }
    Warnings warnings;
    put(good.substr(1));
    TileStore later({.folder = folder.path(), .warn = warnings.function()});
    CHECK_FALSE(later.open(kModel, kLayout).has_value());
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK(warnings.list().size() == 1);
    CHECK(write_pack(later, kModel) == 4);
}

TEST_CASE("A disk without room is refused with one warning and left as it was") {
    TestFolder folder;
    if (mount("hetune", folder.path().c_str(), "tmpfs", 0, "size=1m,mode=0700") != 0)
        return testing::skip("may not mount a tmpfs");
    {
        Warnings warnings;
        TileStore store({.folder = folder.path(), .warn = warnings.function()});
        CHECK_FALSE(begin(store, kModel, kLayout, {{"large", 2 << 20}}).has_value());
        REQUIRE(warnings.list().size() == 1);
        CHECK(warnings.list()[0].find("in memory only") != std::string::npos);
        CHECK(list_tile_packs(folder.path()).empty());
        CHECK(write_pack(store, kModel) == 4);
    }
    umount(folder.path().c_str());
}

TEST_CASE("A pack for which no blocks can be had leaves no partial file") {
    TestFolder folder;
    Warnings warnings;
    TileStore store({.folder = folder.path(), .warn = warnings.function()});
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    const auto handler = ::signal(SIGXFSZ, SIG_IGN);
    rlimit small = before;
    small.rlim_cur = 1 << 16;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const bool began = begin(store, kModel, kLayout, {{"large", 2 << 20}}).has_value();
    setrlimit(RLIMIT_FSIZE, &before);
    ::signal(SIGXFSZ, handler);
    CHECK_FALSE(began);
    CHECK(warnings.list().size() == 1);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path() / "tiles"))
        CHECK(entry.is_directory());
    CHECK(write_pack(store, kModel) == 4);
}

TEST_CASE("Tiles without a folder, or beyond the limit, are refused with one warning") {
    TestFolder folder;
    for (const auto& place : {std::filesystem::path(), folder.path()}) {
        Warnings warnings;
        TileStore store({.folder = place, .max_tile_bytes = 9999, .warn = warnings.function()});
        CHECK_FALSE(begin(store, kModel, kLayout, kTensors).has_value());
        CHECK_FALSE(store.open(kModel, kLayout).has_value());
        CHECK(warnings.list().size() == 1);
    }
}

TEST_CASE("A new pack pushes out those longest unused, but none that is in use") {
    TestFolder folder;
    const Tensors tensors = {{"t", 50000}};
    TileStore store({.folder = folder.path(), .max_tile_bytes = 180000});
    for (uint64_t i = 1; i <= 3; ++i) {
        REQUIRE(write_pack(store, {i, 0}, tensors) == 1);
        timespec times[2] = {{1000 * static_cast<time_t>(i), 0},
                             {1000 * static_cast<time_t>(i), 0}};
        utimensat(AT_FDCWD, store.open({i, 0}, kLayout)->path().c_str(), times, 0);
    }
    const auto in_use = TilePack::open(list_tile_packs(folder.path())[0].path).pack;
    REQUIRE(write_pack(store, {4, 0}, tensors) == 1);
    CHECK(store.open({1, 0}, kLayout).has_value());
    CHECK_FALSE(store.open({2, 0}, kLayout).has_value());
    CHECK(store.open({3, 0}, kLayout).has_value());
    CHECK(store.open({4, 0}, kLayout).has_value());
}

TEST_CASE("A layout that is no plain file name reaches nothing") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    for (const char* name : {"", "../x", "a/b", ".hidden", "a b"}) {
        CHECK_FALSE(begin(store, kModel, name, kTensors).has_value());
        CHECK_FALSE(store.open(kModel, name).has_value());
    }
}

// As a loader opens it.
std::string settled(const std::filesystem::path& file) {
    struct stat opened {};
    stat(file.c_str(), &opened);
    return settled_stat({file}, {opened});
}

TEST_CASE("A status proves nothing about a file that is young, changed, exchanged or gone") {
    TestFolder folder;
    const auto file = folder.path() / "model.gguf";
    const auto age = [](const std::filesystem::path& path, int seconds) {
        timespec times[2] = {};
        times[0].tv_sec = times[1].tv_sec = time(nullptr) - seconds;
        utimensat(AT_FDCWD, path.c_str(), times, 0);
    };
    TileStore store({.folder = folder.path() / "cache"});
    std::ofstream(file) << "weights";
    std::ofstream(folder.path() / "other") << "weightz";
    CHECK(settled(file).empty());  // too young to be sure
    std::this_thread::sleep_for(std::chrono::milliseconds(3100));
    const std::string known = settled(file);
    REQUIRE(!known.empty());
    store.remember_model(known, kModel);
    CHECK(store.known_model(settled(file)) == kModel);
    CHECK_FALSE(store.known_model("").has_value());

    struct stat opened {};
    stat(file.c_str(), &opened);
    age(file, 50);  // as cp -p and rsync -t set it: ctime is of now
    CHECK(settled(file) != known);
    CHECK(settled_stat({file}, {opened}).empty());
    std::filesystem::rename(folder.path() / "other", file);
    CHECK(settled_stat({file}, {opened}).empty());
    CHECK(settled_stat({folder.path() / "absent"}, {opened}).empty());
    CHECK(settled_stat({file, file}, {opened}).empty());
}

TEST_CASE("The identity of a model changes with header, size, hashes and how these were made") {
    const auto bytes = [](const char* text) {
        return std::as_bytes(std::span(text, std::strlen(text)));
    };
    const std::vector<CacheKey> hashes = {{1, 2}, {3, 4}}, others = {{1, 2}, {3, 5}};
    const CacheKey identity = model_identity(bytes("header"), 100, true, hashes);
    CHECK(identity == model_identity(bytes("header"), 100, true, hashes));
    CHECK(identity != model_identity(bytes("headeR"), 100, true, hashes));
    CHECK(identity != model_identity(bytes("header"), 101, true, hashes));
    CHECK(identity != model_identity(bytes("header"), 100, false, hashes));
    CHECK(identity != model_identity(bytes("header"), 100, true, others));
}

TEST_CASE("A pack under another name is damaged, one of another version or unreadable is not") {
    TestFolder folder;
    TileStore store({.folder = folder.path()});
    REQUIRE(write_pack(store, kModel) == 4);
    const auto path = store.open(kModel, kLayout)->path();
    const auto other = folder.path() / "tiles" / CacheKey{7, 8}.hex() / (kLayout + ".tiles");
    std::filesystem::create_directory(other.parent_path());
    std::filesystem::copy(path, other);
    CHECK(TilePack::open(path).state == TilePack::State::kGood);
    CHECK(TilePack::open(other).state == TilePack::State::kDamaged);
    CHECK_FALSE(store.open({7, 8}, kLayout).has_value());
    CHECK_FALSE(std::filesystem::exists(other));

    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(8).put(99);
    CHECK(TilePack::open(path).state == TilePack::State::kNewer);
    CHECK_FALSE(store.open(kModel, kLayout).has_value());
    CHECK(std::filesystem::exists(path));
    CacheFolder checked({.folder = folder.path()});
    CHECK(verify_cache(checked, true).strange == std::vector{path.string()});
    CHECK(std::filesystem::exists(path));
    CHECK(write_pack(store, kModel) == 4);  // it gives way to one that this version can read
    CHECK(store.open(kModel, kLayout).has_value());

    const pid_t child = start_child([&] {
        const rlimit few{3, 3};
        setrlimit(RLIMIT_NOFILE, &few);
        return static_cast<int>(TilePack::open(path).state);
    });
    CHECK(wait_for_child(child) == static_cast<int>(TilePack::State::kUnreadable));
}

TEST_CASE("A writer that is stopped is named, and not waited for without end") {
    TestFolder folder;
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    const pid_t child = start_child([&] {
        TileStore store({.folder = folder.path()});
        auto writer = begin(store, kModel, kLayout, kTensors);
        if (!writer || write(ready[1], "x", 1) != 1) return 1;
        raise(SIGSTOP);
        return 0;
    });
    char byte;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    const auto partial = list_tile_packs(folder.path()).at(0);
    CHECK(partial.partial);
    std::ifstream file(partial.path, std::ios::binary);
    std::array<char, TileJournal::kHeadBytes> head{};
    file.read(head.data(), head.size());
    CHECK(TileJournal::writer_of(std::as_bytes(std::span(head))) == child);

    Patience patience({std::chrono::milliseconds(10), std::chrono::milliseconds(50)});
    CHECK_FALSE(patience.says());
    CHECK_FALSE(patience.ended());
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    CHECK(patience.says());
    CHECK_FALSE(patience.says());
    CHECK(patience.ended());
    patience.progress();
    CHECK_FALSE(patience.ended());
    Warnings warnings;
    TileStore store({.folder = folder.path(),
                     .patience = {std::chrono::milliseconds(10), std::chrono::milliseconds(50)},
                     .warn = warnings.function()});
    const auto [pack, writer] = store.open_or_begin(kModel, kLayout, kTensors);
    CHECK_FALSE(pack.has_value());
    CHECK_FALSE(writer.has_value());
    REQUIRE(warnings.list().size() == 2);
    CHECK(warnings.list()[0].find(fmt::format("process {}", child)) != std::string::npos);
    kill(child, SIGKILL);
    CHECK(wait_for_child(child) == 128 + SIGKILL);
    CHECK(write_pack(store, kModel) == 4);
}

}  // namespace
}  // namespace hetune
