#include "cache/claims.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <thread>
#include <utility>

namespace hetune {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kFirstPoll{1};
constexpr Milliseconds kLastPoll{20};
constexpr uint64_t kMaxOwnerBytes = 32;  // a number and a line feed

}  // namespace

Claim::Claim(Claim&& other) noexcept
    : claims_(std::exchange(other.claims_, nullptr)),
      key_(other.key_),
      file_(std::move(other.file_)),
      leased_(other.leased_) {}

Claim::~Claim() {
    if (claims_ != nullptr) claims_->release(*this);
}

Claims::Claims(std::filesystem::path folder, bool local_disk) {
    if (folder.empty()) return;
    if (!local_disk) {
        leases_ = std::make_unique<Leases>(folder);
        return;
    }
    folder_ = folder / "claims";
    for (const auto& path : list_folder(folder_)) {
        const FileHandle file(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
        if (file && flock(file.get(), LOCK_EX | LOCK_NB) == 0 && is_current(file, path))
            unlink(path.c_str());
    }
}

std::optional<Claim> Claims::claim(const CacheKey& key) {
    {
        const std::scoped_lock lock(mutex_);
        if (!held_.insert(key).second) return std::nullopt;
    }
    std::optional<Claim> claim(Claim(*this, key));
    if (!take(*claim)) claim.reset();
    return claim;
}

bool Claims::take(Claim& claim) {
    if (leases_) {
        try {
            claim.leased_ = leases_->take(claim.key_);
            return claim.leased_;
        } catch (const DatabaseError&) {
            return true;
        }
    }
    if (folder_.empty()) return true;
    for (;;) {
        FileHandle file(open(path(claim.key_).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        if (!file) return true;  // a full disk: make it without a claim
        if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) return errno != EWOULDBLOCK;
        if (!is_current(file, path(claim.key_))) continue;
        const std::string owner = fmt::format("{}\n", getpid());
        // Best effort: on a full disk nobody learns whom they wait for.
        if (ftruncate(file.get(), 0) == 0) (void)!write(file.get(), owner.data(), owner.size());
        claim.file_ = std::move(file);
        return true;
    }
}

int64_t Claims::owner(const CacheKey& key) {
    {
        const std::scoped_lock lock(mutex_);
        if (held_.contains(key)) return getpid();
    }
    try {
        if (leases_) return leases_->owner(key);
    } catch (const DatabaseError&) {
        return 0;
    }
    const auto text = folder_.empty() ? std::nullopt : read_file(path(key), kMaxOwnerBytes);
    int64_t owner = 0;
    if (text) {
        const auto* from = reinterpret_cast<const char*>(text->data());
        std::from_chars(from, from + text->size(), owner);
    }
    return owner;
}

bool Claims::claimed_elsewhere(const CacheKey& key) {
    if (leases_) {
        try {
            return leases_->taken(key);
        } catch (const DatabaseError&) {
            return false;
        }
    }
    if (folder_.empty()) return false;
    const FileHandle file(open(path(key).c_str(), O_RDWR | O_CLOEXEC));
    return file && flock(file.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

bool Claims::wait(const CacheKey& key, Milliseconds timeout) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    {
        std::unique_lock lock(mutex_);
        if (!released_.wait_until(lock, until, [&] { return !held_.contains(key); })) return false;
    }
    for (Milliseconds poll = kFirstPoll; claimed_elsewhere(key);
         poll = std::min(poll * 2, kLastPoll)) {
        if (std::chrono::steady_clock::now() + poll > until) return false;
        std::this_thread::sleep_for(poll);
    }
    return true;
}

void Claims::release(Claim& claim) {
    if (claim.leased_) {
        try {
            leases_->release(claim.key_);
        } catch (const DatabaseError&) {  // it expires by itself
        }
    }
    // Unlinked while it is locked: whoever opened it before sees that it is no longer current.
    if (claim.file_) unlink(path(claim.key_).c_str());
    claim.file_ = FileHandle();
    const std::scoped_lock lock(mutex_);
    held_.erase(claim.key_);
    released_.notify_all();
}

}  // namespace hetune
