// Which model a file holds, whatever its path and its time stamps.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cache/key.h"

namespace hetune {

// The identity of a model: all of its header (metadata, vocabulary and tensor directory), its size,
// and one hash for each tensor. `whole`: the hashes are over all bytes of the tensors; else over
// samples, and files that differ elsewhere have the same name.
CacheKey model_identity(std::span<const std::byte> header, uint64_t file_bytes, bool whole,
                        std::span<const CacheKey> tensors);

// Inode, size, mtime and ctime of the files of a model, which were `opened` so: as long as these
// are unchanged, the files need not be read again. No device number: btrfs, overlayfs and others
// give a new one at each mount. Empty where the stat of a file proves nothing: the name leads to
// another file by now, the file changed since or is so young that it could change within one time
// stamp, or lies on a network file system, where ctime may be a copy of mtime.
std::string settled_stat(const std::vector<std::filesystem::path>& files,
                         const std::vector<struct stat>& opened);

}  // namespace hetune
