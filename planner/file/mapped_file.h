// A file mapped read-only.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <span>

namespace hetune {

class MappedFile {
  public:
    // Throws ModelError (planner/file/errors.h) naming the file when it cannot be opened or mapped.
    explicit MappedFile(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&&) = delete;

    std::span<const std::byte> bytes() const { return bytes_; }
    // Of the file that was opened; its name may lead to another one by now.
    const struct stat& status() const { return status_; }

  private:
    struct stat status_ {};
    std::span<const std::byte> bytes_;
};

}  // namespace hetune
