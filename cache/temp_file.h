// A file that appears whole or not at all: written under a temporary name, fsynced, renamed, and
// the folder fsynced. Also the FILE of a command's -o, and the plain reading of whole files.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// Whether `file` is still what lies at `path`: its last owner may have unlinked or renamed it.
bool is_current(const FileHandle& file, const std::filesystem::path& path);

// All of `bytes`, whatever interrupts. Throws std::system_error that names `path`.
void write_all(const FileHandle& file, std::span<const std::byte> bytes,
               const std::filesystem::path& path);

// Not thread-safe. Failures (a full disk, EIO) throw std::system_error and leave no file.
class TempFile {
  public:
    // `folder` is on the file system of the later target. The file is locked (flock) while it is
    // written, so that a sweeper sees whether its owner lives. The umask applies to `mode`.
    explicit TempFile(const std::filesystem::path& folder, int mode = 0600);
    TempFile(TempFile&& other) noexcept
        : path_(std::exchange(other.path_, {})), file_(std::move(other.file_)) {}
    ~TempFile();

    const std::filesystem::path& path() const { return path_; }
    const FileHandle& handle() const { return file_; }
    void write(std::span<const std::byte> bytes);
    // Replaces what stands there; makes the folder of the target (0700) where it is missing.
    void commit(const std::filesystem::path& target);
    // The same without a wait for the disk, for a file whose reader finds damage: after a loss of
    // power the file may be there and its bytes not. The folder is there.
    void commit_soon(const std::filesystem::path& target);

  private:
    std::filesystem::path path_;  // empty once committed
    FileHandle file_;
};

// The FILE that a user named for output. A regular file is replaced as a whole when the output is
// complete, keeps its mode, and gets the mode of the umask where it is new; a symbolic link to one
// stays. A device, a FIFO and an open file (/dev/stdout, /proc/self/fd/3) is opened and written to.
// A process that dies before the end leaves nothing, where the file system has files without a name
// (O_TMPFILE). Not thread-safe. Failures throw std::system_error that names the file.
class OutputFile {
  public:
    explicit OutputFile(const std::filesystem::path& target);
    void write(std::span<const std::byte> bytes);
    void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
    // Without it a regular file stays as it was.
    void commit();

  private:
    // Each is about a regular file, but the last.
    void open_whole();
    void commit_unnamed();
    std::filesystem::path given_;  // as the user wrote it, for messages
    std::filesystem::path target_;
    FileHandle unnamed_;            // has no name before commit()
    std::optional<TempFile> temp_;  // where the file system has no files without a name
    FileHandle direct_;             // a device, a FIFO or an open file
};

// A whole file by OutputFile.
void write_output(const std::filesystem::path& target, std::span<const std::byte> bytes);
void write_output(const std::filesystem::path& target, std::string_view text);

// flock(2), tried for so long: its owner may be stopped. False: not locked.
bool lock_within(const FileHandle& file, int operation, std::chrono::milliseconds patience);

// Removes what dead writers left in `folder`: files unlocked for a minute where locks work
// (`local_disk`), older than an hour elsewhere; and scratch folders (scratch_folder.h). Returns how
// many.
int sweep_temp_files(const std::filesystem::path& folder, bool local_disk);

// What lies in a folder, in no order; empty where it cannot be read. std::filesystem's iterator
// throws in the middle of a folder that vanishes or fails.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder);

// Makes a rename or an unlink in `folder` durable. Best effort: some file systems refuse it.
void sync_folder(const std::filesystem::path& folder);

// A regular file of at most `max_bytes`. Empty when it is missing, larger or unreadable.
std::optional<std::vector<std::byte>> read_file(const std::filesystem::path& path,
                                                uint64_t max_bytes);

}  // namespace hetune
