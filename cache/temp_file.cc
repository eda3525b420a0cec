#include "cache/temp_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <system_error>

#include "cache/scratch_folder.h"

namespace hetune {
namespace {

constexpr time_t kUnlockedSeconds = 60;
constexpr time_t kOldSeconds = 3600;

[[noreturn]] void fail(const std::filesystem::path& path) {
    throw std::system_error(errno, std::generic_category(), path.string());
}

bool is_stray(const std::filesystem::path& path, bool local_disk) {
    const FileHandle file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat info;
    if (!file || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
    const time_t age = std::time(nullptr) - info.st_mtime;
    if (local_disk) return age > kUnlockedSeconds && flock(file.get(), LOCK_EX | LOCK_NB) == 0;
    return age > kOldSeconds;
}

}  // namespace

FileHandle::~FileHandle() {
    if (descriptor_ >= 0) close(descriptor_);
}

TempFile::TempFile(const std::filesystem::path& folder) {
    std::string name = folder / "write.XXXXXX";
    file_ = FileHandle(mkostemp(name.data(), O_CLOEXEC));
    if (!file_) fail(folder);
    path_ = name;
    flock(file_.get(), LOCK_EX | LOCK_NB);  // where locks do not work, age alone counts
}

TempFile::~TempFile() {
    if (!path_.empty()) unlink(path_.c_str());
}

void TempFile::write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file_.get(), bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(path_);
        bytes = bytes.subspan(static_cast<size_t>(written));
    }
}

void TempFile::commit(const std::filesystem::path& target) {
    if (fsync(file_.get()) != 0) fail(path_);
    if (rename(path_.c_str(), target.c_str()) != 0) {
        if (errno != ENOENT) fail(target);
        if (mkdir(target.parent_path().c_str(), 0700) != 0 && errno != EEXIST) fail(target);
        sync_folder(target.parent_path().parent_path());
        if (rename(path_.c_str(), target.c_str()) != 0) fail(target);
    }
    path_.clear();
    sync_folder(target.parent_path());
}

int sweep_temp_files(const std::filesystem::path& folder, bool local_disk) {
    int removed = 0;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error))
        if (is_stray(entry.path(), local_disk) && unlink(entry.path().c_str()) == 0) ++removed;
    if (local_disk) removed += sweep_scratch_folders(folder);
    return removed;
}

void sync_folder(const std::filesystem::path& folder) {
    const FileHandle handle(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (handle) fsync(handle.get());
}

std::optional<std::vector<std::byte>> read_file(const std::filesystem::path& path,
                                                uint64_t max_bytes) {
    const FileHandle file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info;
    if (!file || fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
    if (static_cast<uint64_t>(info.st_size) > max_bytes) return std::nullopt;
    std::vector<std::byte> bytes(static_cast<size_t>(info.st_size));
    for (size_t done = 0; done < bytes.size();) {
        const ssize_t got = read(file.get(), bytes.data() + done, bytes.size() - done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return std::nullopt;  // EIO, or shorter than it was a moment ago
        done += static_cast<size_t>(got);
    }
    return bytes;
}

}  // namespace hetune
