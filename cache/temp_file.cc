#include "cache/temp_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <random>
#include <system_error>
#include <thread>

#include "cache/scratch_folder.h"

namespace hetune {
namespace {

constexpr time_t kUnlockedSeconds = 60;
constexpr time_t kOldSeconds = 3600;

[[noreturn]] void fail(const std::filesystem::path& path) {
    throw std::system_error(errno, std::generic_category(), path.string());
}

[[noreturn]] void fail_output(const std::filesystem::path& path, int reason) {
    throw std::system_error(reason, std::generic_category(),
                            fmt::format("{}: cannot be written", path.string()));
}

// Of a file that a writer is about to make; sweep_temp_files() knows such names.
std::filesystem::path unused_name(const std::filesystem::path& folder) {
    std::random_device random;
    return folder / fmt::format("write.{:08x}", random());
}

// The path that names an open file of this process.
std::string own_link(const FileHandle& file) { return fmt::format("/proc/self/fd/{}", file.get()); }

// A new file with a name that nobody else has; its name goes into `path`.
FileHandle make_unique_file(const std::filesystem::path& folder, int mode,
                            std::filesystem::path& path) {
    for (;;) {
        path = unused_name(folder);
        FileHandle file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (file) return file;
        if (errno != EEXIST) fail(folder);
    }
}

// An open file of a process. It may be a regular one: a new one in its place would not be it.
bool names_open_file(const std::filesystem::path& path) {
    const std::string text = path.lexically_normal().string();
    return text.starts_with("/dev/fd/") || text.starts_with("/dev/std") ||
           text.starts_with("/proc/");
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

bool is_current(const FileHandle& file, const std::filesystem::path& path) {
    struct stat mine;
    struct stat there;
    return fstat(file.get(), &mine) == 0 && stat(path.c_str(), &there) == 0 &&
           mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

void write_all(const FileHandle& file, std::span<const std::byte> bytes,
               const std::filesystem::path& path) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail(path);
        bytes = bytes.subspan(static_cast<size_t>(written));
    }
}

FileHandle::~FileHandle() {
    if (descriptor_ >= 0) close(descriptor_);
}

TempFile::TempFile(const std::filesystem::path& folder, int mode) {
    file_ = make_unique_file(folder, mode, path_);
    flock(file_.get(), LOCK_EX | LOCK_NB);  // where locks do not work, age alone counts
}

TempFile::~TempFile() {
    if (!path_.empty()) unlink(path_.c_str());
}

void TempFile::write(std::span<const std::byte> bytes) { write_all(file_, bytes, path_); }

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

void TempFile::commit_soon(const std::filesystem::path& target) {
    if (rename(path_.c_str(), target.c_str()) != 0) fail(target);
    path_.clear();
}

OutputFile::OutputFile(const std::filesystem::path& target) : given_(target) {
    struct stat info {};
    std::error_code error;
    target_ = std::filesystem::absolute(target, error);
    if (error) fail_output(given_, error.value());
    const bool exists = stat(target_.c_str(), &info) == 0;
    if (names_open_file(target_) || (exists && !S_ISREG(info.st_mode))) {
        direct_ = FileHandle(open(target_.c_str(), O_WRONLY | O_CLOEXEC));
        if (!direct_) fail_output(given_, errno);
        return;
    }
    if (exists)
        if (const auto real = std::filesystem::canonical(target_, error); !error) target_ = real;
    // A file that may not be written is not replaced either, though its folder would allow that.
    if (exists && access(target_.c_str(), W_OK) != 0) fail_output(given_, errno);
    open_whole();
    const int file = temp_ ? temp_->handle().get() : unnamed_.get();
    if (exists) fchmod(file, info.st_mode & 0777);  // best effort, as on FAT
}

void OutputFile::open_whole() {
    const std::filesystem::path folder = target_.parent_path();
    unnamed_ = FileHandle(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666));
    if (unnamed_ && access(own_link(unnamed_).c_str(), F_OK) == 0) return;
    unnamed_ = FileHandle();  // no such files here, or no /proc to give them a name by
    try {
        temp_.emplace(folder, 0666);
    } catch (const std::system_error& error) {
        fail_output(given_, error.code().value());
    }
}

void OutputFile::write(std::span<const std::byte> bytes) try {
    write_all(direct_ ? direct_ : temp_ ? temp_->handle() : unnamed_, bytes, given_);
} catch (const std::system_error& error) {
    fail_output(given_, error.code().value());
}

void OutputFile::commit() try {
    if (temp_) temp_->commit(target_);
    if (unnamed_) commit_unnamed();
} catch (const std::system_error& error) {
    fail_output(given_, error.code().value());
}

void OutputFile::commit_unnamed() {
    if (fsync(unnamed_.get()) != 0) fail(target_);
    // A link cannot take the place of a file that is there: a name beside it can, by rename().
    std::filesystem::path name;
    for (;;) {
        name = unused_name(target_.parent_path());
        if (linkat(AT_FDCWD, own_link(unnamed_).c_str(), AT_FDCWD, name.c_str(),
                   AT_SYMLINK_FOLLOW) == 0)
            break;
        if (errno != EEXIST) fail(target_);
    }
    if (rename(name.c_str(), target_.c_str()) != 0) {
        const int reason = errno;
        unlink(name.c_str());
        errno = reason;
        fail(target_);
    }
    sync_folder(target_.parent_path());
}

void write_output(const std::filesystem::path& target, std::span<const std::byte> bytes) {
    OutputFile file(target);
    file.write(bytes);
    file.commit();
}

void write_output(const std::filesystem::path& target, std::string_view text) {
    write_output(target, std::as_bytes(std::span(text)));
}

bool lock_within(const FileHandle& file, int operation, std::chrono::milliseconds patience) {
    const auto until = std::chrono::steady_clock::now() + patience;
    while (flock(file.get(), operation | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() > until) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

int sweep_temp_files(const std::filesystem::path& folder, bool local_disk) {
    int removed = 0;
    for (const auto& path : list_folder(folder))
        if (is_stray(path, local_disk) && unlink(path.c_str()) == 0) ++removed;
    if (local_disk) removed += sweep_scratch_folders(folder);
    return removed;
}

std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    std::filesystem::directory_iterator entry(folder, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error))
        paths.push_back(entry->path());
    return paths;
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
