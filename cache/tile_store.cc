#include "cache/tile_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <system_error>
#include <thread>

namespace hetune {
namespace {

constexpr std::chrono::milliseconds kPoll{20};
constexpr uint64_t kFullBytes = 1 << 20;  // a disk with less room is full for code objects too
constexpr int64_t kPartialSeconds = 24 * 3600;
constexpr off64_t kWriteBackBytes = 256 << 20;  // a disk of 10 MB/s needs 26 s for a piece

[[noreturn]] void fail_at(const std::filesystem::path& path) {
    throw std::system_error(errno, std::generic_category(), path.string());
}

std::filesystem::path pack_path(const std::filesystem::path& folder, const CacheKey& model,
                                std::string_view layout) {
    return folder / "tiles" / model.hex() / fmt::format("{}.tiles", layout);
}

std::filesystem::path partial_path(std::filesystem::path pack) {
    return pack.replace_extension(".partial");
}

// Opens and locks the partial file; empty when somebody else has it.
std::optional<FileHandle> lock_partial(const std::filesystem::path& path) {
    for (;;) {
        FileHandle file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!file) fail_at(path);
        if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) return std::nullopt;
            fail_at(path);
        }
        // Between our open and our lock its writer may have given it its final name.
        if (is_current(file, path)) return file;
    }
}

uint64_t allocated_bytes(const FileHandle& file) {
    struct stat info;
    return fstat(file.get(), &info) == 0 ? static_cast<uint64_t>(info.st_blocks) * 512 : 0;
}

uint64_t free_bytes(const std::filesystem::path& folder) {
    struct statvfs info;
    if (statvfs(folder.c_str(), &info) != 0) return 0;
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

// Reserves the blocks: a store into a mapping of a full disk would be a SIGBUS.
void reserve(const FileHandle& file, const std::filesystem::path& path, uint64_t bytes) {
    errno = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes));
    if (errno != 0) fail_at(path);
}

// "process 4711": who writes a partial pack.
std::string name_of_writer(const FileHandle& partial) {
    std::array<std::byte, TileJournal::kHeadBytes> head{};
    const ssize_t got = pread(partial.get(), head.data(), head.size(), 0);
    const int64_t writer = TileJournal::writer_of(
        std::span(head).first(static_cast<size_t>(std::max<ssize_t>(got, 0))));
    return writer > 0 ? fmt::format("process {}", writer) : "another process";
}

std::string size_text(uint64_t bytes) {
    if (bytes < 1 << 30) return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
    return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (1 << 30));
}

}  // namespace

TileWriter::TileWriter(CacheFolder& folder, std::filesystem::path target, FileHandle file,
                       Mapping mapping, TileHead head)
    : folder_(&folder),
      target_(std::move(target)),
      file_(std::move(file)),
      mapping_(std::move(mapping)),
      head_(std::move(head)),
      journal_(std::make_unique<TileJournal>(mapping_.bytes(), head_)),
      finished_(head_.entries.size()) {}

// The journal may have reached the disk before the tensor did, so the hashes are checked.
void TileWriter::resume() {
    if (!journal_->matches()) return journal_->reset();
    journal_->take_over();
    for (size_t i = 0; i < head_.entries.size(); ++i) {
        const auto hashes = journal_->finished(i);
        const auto bytes = tensor(i);
        if (!hashes || content_hash(bytes.data(), bytes.size()) != hashes->hash) continue;
        head_.entries[i].hash = hashes->hash;
        head_.entries[i].source = hashes->source;
        finished_[i] = 1;
    }
}

std::span<std::byte> TileWriter::tensor(size_t index) {
    const TileEntry& entry = head_.entries[index];
    return mapping_.bytes().subspan(entry.offset, entry.bytes);
}

bool TileWriter::write(size_t index, uint64_t offset, std::span<const std::byte> bytes) {
    uint64_t at = head_.entries[index].offset + offset;
    while (!bytes.empty()) {
        const ssize_t written =
            pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            folder_->warn_failed(
                "tiles", "tiles are kept in memory only",
                std::system_error(errno, std::generic_category(), target_.string()));
            return false;
        }
        at += static_cast<uint64_t>(written);
        bytes = bytes.subspan(static_cast<size_t>(written));
    }
    return true;
}

void TileWriter::finish_tensor(size_t index, const CacheKey& source) {
    const auto bytes = tensor(index);
    TileEntry& entry = head_.entries[index];
    entry.hash = content_hash(bytes.data(), bytes.size());
    entry.source = source;
    journal_->set_finished(index, {entry.hash, source});
    finished_[index] = 1;
}

// In pieces, each of which moves the time of the last change: who waits sees that it goes on.
void TileWriter::write_back() {
    const uint64_t bytes = mapping_.bytes().size();
    for (uint64_t at = 0; at < bytes; at += kWriteBackBytes) {
        sync_file_range(
            file_.get(), static_cast<off64_t>(at), kWriteBackBytes,
            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
        futimens(file_.get(), nullptr);
    }
}

bool TileWriter::commit() try {
    if (std::ranges::count(finished_, 1) != std::ssize(finished_))
        throw CacheError("commit of a tile pack before all of its tensors are finished");
    const std::filesystem::path partial = partial_path(target_);
    write_back();
    if (fsync(file_.get()) != 0) fail_at(partial);
    const auto head = encode_tile_head(head_, mapping_.bytes().size());
    std::ranges::copy(head, mapping_.bytes().begin());
    if (fsync(file_.get()) != 0) fail_at(partial);
    if (rename(partial.c_str(), target_.c_str()) != 0) fail_at(target_);
    sync_folder(target_.parent_path());
    return true;
} catch (const std::system_error& error) {
    folder_->warn_failed("tiles", "tiles are kept in memory only", error);
    return false;
}

TileStore::TileStore(const CacheOptions& options)
    : folder_(options),
      trust_(options.trust),
      bundles_(open_bundles(folder_, options.trust)),
      patience_(options.patience),
      max_bytes_(options.max_tile_bytes),
      hashed_model_bytes_(options.hashed_model_bytes) {}

std::optional<TilePack> TileStore::open(const CacheKey& model, std::string_view layout) {
    if (!is_layout_name(layout)) return std::nullopt;
    for (size_t i = 0; i < folder_.layers().size(); ++i)
        if (auto pack = open_in_layer(i, model, layout)) return pack;
    if (folder_.readable().empty()) return std::nullopt;
    const std::filesystem::path path = pack_path(folder_.readable(), model, layout);
    auto [state, pack] = TilePack::open(path);
    if (state == TilePack::State::kUnreadable)
        folder_.warn_once("tiles", fmt::format("tiles cannot be read: {}: {}", path.string(),
                                               std::strerror(errno)));
    if (folder_.writable().empty()) return std::move(pack);
    if (pack)
        utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // the time of last use, for eviction
    else if (state == TilePack::State::kDamaged)
        discard(model, layout);
    return std::move(pack);
}

bool TileStore::is_damaged(const std::filesystem::path& path) {
    const std::scoped_lock lock(damaged_mutex_);
    return damaged_.contains(path);
}

std::optional<TilePack> TileStore::open_path(const std::filesystem::path& path) {
    return is_damaged(path) ? std::nullopt : TilePack::open(path).pack;
}

std::optional<TilePack> TileStore::open_in_layer(size_t layer, const CacheKey& model,
                                                 std::string_view layout) {
    const auto& path = folder_.layers()[layer];
    if (path.empty()) return std::nullopt;
    if (!bundles_[layer]) return open_path(pack_path(path, model, layout));
    const BundleMember* member =
        bundles_[layer]->find(fmt::format("tiles/{}/{}.tiles", model.hex(), layout));
    if (member == nullptr || is_damaged(path / member->path)) return std::nullopt;
    auto [state, pack] = TilePack::open_member(path, *member);
    if (state == TilePack::State::kUnreadable || is_other_version(state)) return std::nullopt;
    try {
        // What the signature vouches for is BLAKE2b; the hashes of the pack find damage only.
        if (pack && trust_.required) bundles_[layer]->read(*member, [](const auto&) {});
        if (pack) return std::move(pack);
    } catch (const CacheError&) {
    }
    folder_.warn_once("damaged tiles",
                      fmt::format("{} is damaged and not used", (path / member->path).string()));
    const std::scoped_lock lock(damaged_mutex_);
    damaged_.insert(path / member->path);
    return std::nullopt;
}

std::optional<TilePack> TileStore::wait(const CacheKey& model, std::string_view layout) {
    if (!is_layout_name(layout) || folder_.writable().empty()) return std::nullopt;
    wait_for_writer(partial_path(pack_path(folder_.writable(), model, layout)));
    return open(model, layout);
}

// False: there still is one, and it does nothing.
bool TileStore::wait_for_writer(const std::filesystem::path& partial) {
    {
        const std::scoped_lock lock(stuck_mutex_);
        if (stuck_.contains(partial)) return false;
    }
    Patience patience(patience_);
    timespec last_change{};
    for (;;) {
        const FileHandle file(::open(partial.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file || flock(file.get(), LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK) return true;
        struct stat info {};
        fstat(file.get(), &info);
        const bool changed = info.st_mtim.tv_sec != last_change.tv_sec ||
                             info.st_mtim.tv_nsec != last_change.tv_nsec;
        last_change = info.st_mtim;
        if (changed) patience.progress();
        if (patience.ended()) break;
        if (patience.says())
            folder_.warn_once(
                "waiting for tiles",
                fmt::format("waiting for {}, which is repacking these weights; if it does nothing "
                            "for {} s, they are repacked into memory here",
                            name_of_writer(file),
                            std::chrono::ceil<std::chrono::seconds>(patience_.all).count()));
        std::this_thread::sleep_for(kPoll);
    }
    const std::scoped_lock lock(stuck_mutex_);
    stuck_.insert(partial);
    return false;
}

TileStore::Turn TileStore::open_or_begin(const CacheKey& model, std::string_view layout,
                                         const std::vector<TileWriter::Tensor>& tensors) {
    for (;;) {
        Turn turn{open(model, layout), {}};
        if (turn.pack) return turn;
        if (begin(model, layout, tensors, turn.writer) != Begun::kTheirs) return turn;
        if (!wait_for_writer(partial_path(pack_path(folder_.writable(), model, layout)))) {
            folder_.warn_once("tiles",
                              "tiles are kept in memory only: the process that was to write them "
                              "does nothing");
            return turn;
        }
    }
}

// kTheirs: somebody else writes the pack, or has just done so.
TileStore::Begun TileStore::begin(const CacheKey& model, std::string_view layout,
                                  const std::vector<TileWriter::Tensor>& tensors,
                                  std::optional<TileWriter>& writer) try {
    const auto not_because = [&](const std::string& why) {
        folder_.warn_once("tiles", fmt::format("tiles are kept in memory only: {}", why));
        return Begun::kNot;
    };
    if (folder_.writable().empty() || !is_layout_name(layout))
        return not_because("no folder to write them to");
    TileHead head{model, std::string(layout), {}};
    for (const auto& [name, bytes] : tensors) head.entries.push_back({name, bytes, 0, {}, {}});
    const uint64_t bytes = lay_out_tiles(head);
    if (bytes > max_bytes_)
        return not_because(fmt::format("{} needed, HETUNE_TILES_SIZE is {}", size_text(bytes),
                                       size_text(max_bytes_)));
    const auto target = pack_path(folder_.writable(), model, layout);
    const auto partial = partial_path(target);
    if (mkdir(target.parent_path().c_str(), 0700) == 0)
        sync_folder(folder_.writable() / "tiles");
    else if (errno != EEXIST)
        fail_at(target.parent_path());
    auto file = lock_partial(partial);
    if (!file) return Begun::kTheirs;
    // A pack that nobody here can read now is left alone; one of another version is replaced.
    switch (TilePack::open(target).state) {
        case TilePack::State::kGood:  // somebody was quicker
            unlink(partial.c_str());
            return Begun::kTheirs;
        case TilePack::State::kUnreadable:
            unlink(partial.c_str());
            return not_because(fmt::format("{} is there and cannot be read", target.string()));
        default:
            break;
    }
    evict_tile_packs(folder_.writable(), max_bytes_ - bytes);
    const uint64_t allocated = allocated_bytes(*file);
    if (const uint64_t room = free_bytes(folder_.writable()) + allocated; room < bytes) {
        unlink(partial.c_str());
        if (room < kFullBytes)
            throw std::system_error(ENOSPC, std::generic_category(), partial.string());
        return not_because(fmt::format("{} needed, {} free in {}", size_text(bytes),
                                       size_text(room), folder_.writable().string()));
    }
    struct stat info;
    if (fstat(file->get(), &info) != 0) fail_at(partial);
    if (static_cast<uint64_t>(info.st_size) != bytes && ftruncate(file->get(), 0) != 0)
        fail_at(partial);
    try {
        reserve(*file, partial, bytes);
    } catch (const std::system_error&) {
        unlink(partial.c_str());  // its blocks would keep a full disk full
        throw;
    }
    Mapping mapping(*file, bytes, true);
    writer = TileWriter(folder_, target, *std::move(file), std::move(mapping), std::move(head));
    writer->resume();
    return Begun::kMine;
} catch (const std::system_error& error) {
    folder_.warn_failed("tiles", "tiles are kept in memory only", error);
    return Begun::kNot;
}

void TileStore::discard(const CacheKey& model, std::string_view layout) {
    if (folder_.writable().empty() || !is_layout_name(layout)) return;
    const auto path = pack_path(folder_.writable(), model, layout);
    if (unlink(path.c_str()) == 0)
        folder_.warn_once("damaged tiles", fmt::format("{} was damaged and is removed; its weights "
                                                       "are repacked",
                                                       path.string()));
}

void TileStore::discard(const TilePack& pack) {
    const auto [in_folder, in_path] =
        std::mismatch(folder_.writable().begin(), folder_.writable().end(), pack.path().begin(),
                      pack.path().end());
    const bool ours = !folder_.writable().empty() && in_folder == folder_.writable().end();
    if (ours && unlink(pack.path().c_str()) == 0) {
        folder_.warn_once("damaged tiles", fmt::format("{} was damaged and is removed; its weights "
                                                       "are repacked",
                                                       pack.path().string()));
        return;
    }
    folder_.warn_once("damaged tiles",
                      fmt::format("{} is damaged and not used", pack.path().string()));
    const std::scoped_lock lock(damaged_mutex_);
    damaged_.insert(pack.path());
}

std::optional<CacheKey> TileStore::known_model(const std::string& stat) {
    std::optional<CacheKey> identity;
    if (!stat.empty()) folder_.with_index([&](Index& index) { identity = index.model(stat); });
    return identity;
}

void TileStore::remember_model(const std::string& stat, const CacheKey& identity) {
    if (!stat.empty()) folder_.with_index([&](Index& index) { index.set_model(stat, identity); });
}

std::vector<TilePackFile> list_tile_packs(const std::filesystem::path& folder) {
    std::vector<TilePackFile> packs;
    for (const auto& model : list_folder(folder / "tiles"))
        for (const auto& file : list_folder(model)) {
            struct stat info;
            const bool partial = file.extension() == ".partial";
            if (!partial && file.extension() != ".tiles") continue;
            if (stat(file.c_str(), &info) != 0) continue;
            packs.push_back({file, model.filename().string(), file.stem().string(),
                             static_cast<uint64_t>(info.st_blocks) * 512, info.st_mtime, partial});
        }
    std::ranges::sort(packs, {}, &TilePackFile::used);
    return packs;
}

uint64_t evict_tile_packs(const std::filesystem::path& folder, uint64_t max_bytes) {
    const auto packs = list_tile_packs(folder);
    uint64_t total = 0;
    for (const TilePackFile& pack : packs) total += pack.partial ? 0 : pack.bytes;
    uint64_t removed = 0;
    for (const TilePackFile& pack : packs) {
        const bool stray = pack.partial && pack.used < std::time(nullptr) - kPartialSeconds;
        if (pack.partial ? !stray : total <= max_bytes) continue;
        const FileHandle file(open(pack.path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file || flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;  // in use
        if (unlink(pack.path.c_str()) != 0) continue;
        if (!pack.partial) total -= pack.bytes;
        removed += pack.bytes;
    }
    return removed;
}

}  // namespace hetune
