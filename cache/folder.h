// Who may write to a cache folder, and what its file system can do. A code object is code, so a
// folder that someone else can write to is refused.
#pragma once

#include <filesystem>
#include <string>

namespace hetune {

enum class FolderUse { kWritable, kReadOnly, kRefused };

struct FolderCheck {
    FolderUse use = FolderUse::kRefused;
    std::string why;          // why not kWritable, as one line; empty otherwise
    bool local_disk = false;  // locks and shared memory work: not a network file system
};

// For the writable folder: makes it (0700) where it is missing. Symbolic links are followed; what
// they lead to must be ours, writable by nobody else, and lie in no folder that others control.
FolderCheck prepare_cache_folder(const std::filesystem::path& folder);

// The same for a folder of one kind of files, which has no folders within.
FolderCheck prepare_private_folder(const std::filesystem::path& folder);

// For a read-only layer, file or folder: root's or ours, and writable by nobody else. kReadOnly or
// kRefused.
FolderCheck check_layer(const std::filesystem::path& layer);

// Whether the file system of `path` is none of a network (by statfs).
bool on_local_disk(const std::filesystem::path& path);

}  // namespace hetune
