// Which model a file holds, whatever its path and its time stamps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "cache/key.h"

namespace hetune {

// What names a model, whatever its path: all of its header (metadata and tensor directory), its
// size, and samples of its weights (the first bytes of each tensor will do).
CacheKey model_identity(std::span<const std::byte> header, uint64_t file_bytes,
                        std::span<const std::span<const std::byte>> samples);

// Device, inode, size, mtime and ctime of the files of a model: as long as that is unchanged, they
// need not be read again. Empty when a file is missing, or so young that it could change within one
// time stamp.
std::string settled_stat(const std::vector<std::filesystem::path>& files);

}  // namespace hetune
