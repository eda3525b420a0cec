#include "cache/model_identity.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "cache/folder.h"

namespace hetune {
namespace {

constexpr int64_t kSettledSeconds = 2;  // time stamps of FAT and HFS+ are that coarse

std::string text_of(const struct stat& info) {
    return fmt::format("{}:{}:{}.{}:{}.{};", info.st_ino, info.st_size, info.st_mtim.tv_sec,
                       info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

}  // namespace

CacheKey model_identity(std::span<const std::byte> header, uint64_t file_bytes, bool whole,
                        std::span<const CacheKey> tensors) {
    const std::string text = fmt::format("model 2:{}:{}:{}:{}:{}", header.size(),
                                         content_hash(header.data(), header.size()).hex(),
                                         file_bytes, whole ? "whole" : "samples",
                                         content_hash(tensors.data(), tensors.size_bytes()).hex());
    return content_hash(text.data(), text.size());
}

std::string settled_stat(const std::vector<std::filesystem::path>& files,
                         const std::vector<struct stat>& opened) {
    const int64_t settled = std::time(nullptr) - kSettledSeconds;
    std::string text;
    for (size_t i = 0; i < files.size(); ++i) {
        struct stat info;
        if (i >= opened.size() || stat(files[i].c_str(), &info) != 0) return {};
        text += text_of(info);
        if (text_of(info) != text_of(opened[i]) || info.st_dev != opened[i].st_dev ||
            std::max(info.st_mtim.tv_sec, info.st_ctim.tv_sec) > settled ||
            !on_local_disk(files[i]))
            return {};
    }
    return text;
}

}  // namespace hetune
