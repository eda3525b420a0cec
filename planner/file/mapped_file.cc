#include "planner/file/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "planner/file/errors.h"

namespace hetune {

namespace {

// What a path names that is no regular file.
const char* kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe (FIFO)";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    if (S_ISSOCK(mode)) return "a socket";
    return "no regular file";
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
    const auto fail = [&](const std::string& what) {
        throw ModelError(fmt::format("{}: {}", path.string(), what));
    };
    // O_NONBLOCK: a pipe without a writer would hold open() for ever.
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) fail(fmt::format("cannot open: {}", std::strerror(errno)));
    struct stat& info = status_;
    void* data = nullptr;
    int error = fstat(file, &info) == 0 ? 0 : errno;
    const bool regular = error == 0 && S_ISREG(info.st_mode);
    if (regular && info.st_size > 0) {
        data = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
        if (data == MAP_FAILED) error = errno;
    }
    close(file);
    if (error != 0) fail(fmt::format("cannot map: {}", std::strerror(error)));
    if (!regular)
        fail(fmt::format("is {}; hetune maps files, so that it needs one on a disk",
                         kind_of(info.st_mode)));
    bytes_ = {static_cast<const std::byte*>(data), static_cast<size_t>(info.st_size)};
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : status_(other.status_), bytes_(std::exchange(other.bytes_, {})) {}

}  // namespace hetune
