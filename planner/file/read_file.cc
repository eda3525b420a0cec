#include "planner/file/read_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace hetune {

std::string read_file(const std::filesystem::path& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    int error = file < 0 ? errno : 0;
    std::string text;
    struct stat info;
    if (file >= 0 && fstat(file, &info) == 0 && S_ISREG(info.st_mode))
        text.reserve(static_cast<size_t>(info.st_size));  // growing would hold it twice
    char piece[1 << 16];
    while (error == 0) {
        const ssize_t bytes = read(file, piece, sizeof piece);
        if (bytes == 0) break;
        if (bytes > 0)
            text.append(piece, static_cast<size_t>(bytes));
        else if (errno != EINTR)
            error = errno;
    }
    if (file >= 0) close(file);
    if (error == EISDIR) throw std::runtime_error(fmt::format("{}: is a folder", path.string()));
    if (error != 0)
        throw std::runtime_error(
            fmt::format("{}: cannot be read: {}", path.string(), std::strerror(error)));
    return text;
}

}  // namespace hetune
