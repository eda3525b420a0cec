// A file that appears whole or not at all: written under a temporary name, fsynced, renamed, and
// the folder fsynced. Also the plain reading of whole files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace hetune {

// Owns a file descriptor.
class FileHandle {
  public:
    FileHandle() = default;
    explicit FileHandle(int descriptor) : descriptor_(descriptor) {}
    FileHandle(FileHandle&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
    FileHandle& operator=(FileHandle&& other) noexcept {
        std::swap(descriptor_, other.descriptor_);
        return *this;
    }
    ~FileHandle();
    int get() const { return descriptor_; }
    explicit operator bool() const { return descriptor_ >= 0; }

  private:
    int descriptor_ = -1;
};

// Not thread-safe. Failures (a full disk, EIO) throw std::system_error and leave no file.
class TempFile {
  public:
    // `folder` is on the file system of the later target. The file is locked (flock) while it is
    // written, so that a sweeper sees whether its owner lives.
    explicit TempFile(const std::filesystem::path& folder);
    TempFile(TempFile&&) noexcept = default;
    ~TempFile();

    const std::filesystem::path& path() const { return path_; }
    void write(std::span<const std::byte> bytes);
    // Replaces what stands there; makes the folder of the target (0700) where it is missing.
    void commit(const std::filesystem::path& target);

  private:
    std::filesystem::path path_;  // empty once committed
    FileHandle file_;
};

// Removes what dead writers left in `folder`: files unlocked for a minute where locks work
// (`local_disk`), older than an hour elsewhere; and scratch folders (scratch_folder.h). Returns how
// many.
int sweep_temp_files(const std::filesystem::path& folder, bool local_disk);

// Makes a rename or an unlink in `folder` durable. Best effort: some file systems refuse it.
void sync_folder(const std::filesystem::path& folder);

// A regular file of at most `max_bytes`. Empty when it is missing, larger or unreadable.
std::optional<std::vector<std::byte>> read_file(const std::filesystem::path& path,
                                                uint64_t max_bytes);

}  // namespace hetune
