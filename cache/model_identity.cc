#include "cache/model_identity.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>

namespace hetune {
namespace {

constexpr int64_t kSettledSeconds = 2;

}  // namespace

CacheKey model_identity(std::span<const std::byte> header, uint64_t file_bytes,
                        std::span<const std::span<const std::byte>> samples) {
    std::string text = fmt::format("model 1:{}:{}:{}", header.size(),
                                   content_hash(header.data(), header.size()).hex(), file_bytes);
    for (const auto& sample : samples)
        text +=
            fmt::format(":{}:{}", sample.size(), content_hash(sample.data(), sample.size()).hex());
    return content_hash(text.data(), text.size());
}

std::string settled_stat(const std::vector<std::filesystem::path>& files) {
    const int64_t settled = std::time(nullptr) - kSettledSeconds;
    std::string text;
    for (const auto& file : files) {
        struct stat info;
        if (stat(file.c_str(), &info) != 0) return {};
        text += fmt::format("{}:{}:{}:{}.{}:{}.{};", info.st_dev, info.st_ino, info.st_size,
                            info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec,
                            info.st_ctim.tv_nsec);
        if (std::max(info.st_mtim.tv_sec, info.st_ctim.tv_sec) > settled) return {};
    }
    return text;
}

}  // namespace hetune
