#include "cache/prompt_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "cache/cache_folder.h"
#include "cache/folder.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr std::string_view kPieceSuffix = ".prompt";
// Files that are being written. Old ones are removed, so nobody else has a folder of this name.
constexpr const char* kWritesFolder = "hetune-writes";

timespec timespec_of(PromptStore::Time time) {
    const auto since = time.time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    return {seconds.count(), (since - seconds).count()};
}

}  // namespace

bool is_kept_by_cache(const std::filesystem::path& folder, const std::filesystem::path& cache) {
    constexpr std::string_view kOwn[] = {"claims", "facts", "objects", "recipes",
                                         "tiles",  "tmp",   "tunings"};
    if (cache.empty()) return false;
    std::error_code error;
    const auto at = std::filesystem::weakly_canonical(folder, error);
    const auto of = std::filesystem::weakly_canonical(cache / "x", error).parent_path();
    const auto [end, rest] = std::mismatch(of.begin(), of.end(), at.begin(), at.end());
    return !error && end == of.end() && rest != at.end() &&
           std::ranges::find(kOwn, rest->string()) != std::end(kOwn);
}

PromptStore::PromptStore(std::filesystem::path folder, uint64_t max_bytes, WarnFunction warn)
    : folder_(std::move(folder)), max_bytes_(max_bytes), warn_(std::move(warn)) {
    const FolderCheck check = prepare_private_folder(folder_);
    if (check.use != FolderUse::kWritable && warn_)
        warn_(check.use == FolderUse::kRefused
                  ? fmt::format("prompts are not kept on disk: {}", check.why)
                  : fmt::format("prompts are read from disk only, none is kept there: {}",
                                check.why));
    if (check.use == FolderUse::kRefused) return;
    writable_ = check.use == FolderUse::kWritable;
    if (writable_) {
        mkdir((folder_ / kWritesFolder).c_str(), 0700);  // put() says where that failed
        sweep_temp_files(folder_ / kWritesFolder, check.local_disk);
    }
    list();
}

std::filesystem::path PromptStore::path(const CacheKey& key) const {
    return folder_ / (key.hex() + std::string(kPieceSuffix));
}

void PromptStore::list() {
    entries_.clear();
    bytes_ = 0;
    for (const auto& file : list_folder(folder_)) {
        const std::string name = file.filename().string();
        if (!name.ends_with(kPieceSuffix)) continue;
        const auto key =
            CacheKey::from_hex(std::string_view(name).substr(0, name.size() - kPieceSuffix.size()));
        struct stat info;
        if (!key || lstat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
        const Time used{std::chrono::seconds(info.st_mtim.tv_sec) +
                        std::chrono::nanoseconds(info.st_mtim.tv_nsec)};
        entries_[*key] = {static_cast<uint64_t>(info.st_size), used};
        bytes_ += static_cast<uint64_t>(info.st_size);
    }
}

bool PromptStore::has_any(uint64_t high) const {
    const auto at = entries_.lower_bound({high, 0});
    return at != entries_.end() && at->first.high == high;
}

void PromptStore::forget(const CacheKey& key) {
    const auto at = entries_.find(key);
    if (at == entries_.end()) return;
    bytes_ -= at->second.bytes;
    entries_.erase(at);
}

std::optional<PromptStore::Piece> PromptStore::find(const CacheKey& key) {
    if (!has(key)) return std::nullopt;
    auto file = read_file(path(key), kMaxPromptBytes);
    if (file && decode_prompt_file(*file, key)) {
        Piece piece;
        piece.file_ = *std::move(file);
        return piece;
    }
    if (file && writable_) unlink(path(key).c_str());
    forget(key);
    return std::nullopt;
}

void PromptStore::put(const CacheKey& key, std::span<const std::byte> piece, Time used) {
    if (!writable_ || has(key) || piece.size() + kPromptHeadBytes > max_bytes_) return;
    try {
        TempFile file(folder_ / kWritesFolder);
        file.write(encode_prompt_head(key, piece));
        file.write(piece);
        const timespec times[2] = {timespec_of(used), timespec_of(used)};
        futimens(file.handle().get(), times);  // best effort
        file.commit_soon(path(key));
    } catch (const std::system_error& error) {
        writable_ = false;
        if (!warn_) return;
        warn_(is_disk_full(error)
                  ? full_disk_warning(folder_)
                  : fmt::format("prompts are not kept on disk any more: {}", error.what()));
        return;
    }
    const uint64_t bytes = piece.size() + kPromptHeadBytes;
    entries_[key] = {bytes, used};
    bytes_ += bytes;
    if (bytes_ > max_bytes_) make_room();
}

bool PromptStore::use(const CacheKey& key, Time used) {
    const auto at = entries_.find(key);
    if (at == entries_.end() || at->second.used >= used) return false;
    at->second.used = used;
    const timespec times[2] = {timespec_of(used), timespec_of(used)};
    if (writable_) utimensat(AT_FDCWD, path(key).c_str(), times, 0);  // best effort
    return true;
}

// A tenth more than has to go, so that the folder is not listed at each piece. Other processes that
// share the folder may have removed files, or used them.
void PromptStore::make_room() {
    list();
    std::vector<std::pair<Time, CacheKey>> by_use;
    for (const auto& [key, entry] : entries_) by_use.emplace_back(entry.used, key);
    std::ranges::sort(by_use);
    for (const auto& [used, key] : by_use) {
        if (bytes_ <= max_bytes_ - max_bytes_ / 10) break;
        unlink(path(key).c_str());
        forget(key);
    }
}

}  // namespace hetune
