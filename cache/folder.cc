#include "cache/folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace hetune {
namespace {

constexpr uid_t kUnmappedOwner = 65534;  // how a user namespace shows owners from outside of it

// f_type of statfs(2), from linux/magic.h and the file systems' own sources.
bool is_network_file_system(uint32_t magic) {
    constexpr std::array<uint32_t, 14> kNetwork = {
        0x6969,      // nfs
        0x517b,      // smb
        0xff534d42,  // cifs
        0xfe534d42,  // smb2
        0x00c36400,  // ceph
        0x0bd00bd0,  // lustre
        0x47504653,  // gpfs
        0x19830326,  // beegfs
        0x5346414f,  // afs
        0x6b414653,  // afs of the kernel
        0x01021997,  // 9p
        0xaad7aaea,  // panfs
        0x20030528,  // orangefs
        0x65735546,  // fuse: sshfs, s3fs, ...
    };
    for (const uint32_t network : kNetwork)
        if (magic == network) return true;
    return false;
}

FolderCheck refused(std::string why) { return {FolderUse::kRefused, std::move(why), false}; }

// Whether somebody who is neither root nor us can replace what lies below `path`. Empty: nobody.
// A group may write here (user-private groups are common): the folder itself is checked strictly.
std::string controlled_by_others(const std::filesystem::path& path) {
    for (std::filesystem::path part = path.parent_path();; part = part.parent_path()) {
        struct stat info;
        if (stat(part.c_str(), &info) != 0)
            return fmt::format("{}: {}", part.string(), std::strerror(errno));
        const bool sticky = (info.st_mode & S_ISVTX) != 0;
        if (info.st_uid != 0 && info.st_uid != geteuid() && info.st_uid != kUnmappedOwner)
            return fmt::format("{} belongs to user {}", part.string(), info.st_uid);
        if ((info.st_mode & S_IWOTH) != 0 && !sticky)
            return fmt::format("everybody can write to {}", part.string());
        if (part == part.root_path()) return {};
    }
}

// What is wrong with the owner or the mode of `path`, which must belong to us, or to root too.
std::string not_ours(const std::filesystem::path& path, const struct stat& info, bool root_too) {
    if (info.st_uid != geteuid() && !(root_too && info.st_uid == 0))
        return fmt::format("{} belongs to user {}, not to {}", path.string(), info.st_uid,
                           geteuid());
    if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return fmt::format("others can write to {}; chmod go-w it", path.string());
    return {};
}

}  // namespace

bool on_local_disk(const std::filesystem::path& path) {
    struct statfs info;
    return statfs(path.c_str(), &info) == 0 &&
           !is_network_file_system(static_cast<uint32_t>(info.f_type));
}

FolderCheck prepare_private_folder(const std::filesystem::path& folder) {
    std::error_code error;
    if (!std::filesystem::exists(folder, error)) {
        std::filesystem::create_directories(folder.parent_path(), error);
        if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
            return refused(
                fmt::format("{} cannot be made: {}", folder.string(), std::strerror(errno)));
    }
    const std::filesystem::path real = std::filesystem::canonical(folder, error);
    if (error) return refused(fmt::format("{}: {}", folder.string(), error.message()));

    struct stat info;
    if (stat(real.c_str(), &info) != 0 || !S_ISDIR(info.st_mode))
        return refused(fmt::format("{} is no folder", real.string()));
    if (std::string why = not_ours(real, info, false); !why.empty()) return refused(std::move(why));
    if (std::string why = controlled_by_others(real); !why.empty()) return refused(std::move(why));

    FolderCheck check{FolderUse::kWritable, {}, on_local_disk(real)};
    if (faccessat(AT_FDCWD, real.c_str(), W_OK, AT_EACCESS) != 0) {
        check.use = FolderUse::kReadOnly;
        check.why = fmt::format("{}: {}", real.string(), std::strerror(errno));
    }
    return check;
}

FolderCheck prepare_cache_folder(const std::filesystem::path& folder) {
    FolderCheck check = prepare_private_folder(folder);
    if (check.use == FolderUse::kRefused) return check;
    check.use = FolderUse::kWritable;  // as long as the folders within are
    check.why.clear();
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(folder, error);
    if (error) return refused(fmt::format("{}: {}", folder.string(), error.message()));
    struct stat info;
    for (const char* name : {"objects", "tiles", "recipes", "facts", "claims", "tmp"}) {
        const std::filesystem::path sub = real / name;
        if (mkdir(sub.c_str(), 0700) != 0 && errno != EEXIST) {
            check.use = FolderUse::kReadOnly;
            check.why = fmt::format("{} cannot be made: {}", sub.string(), std::strerror(errno));
        } else if (lstat(sub.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
            return refused(fmt::format("{} is no folder", sub.string()));
        } else if (std::string why = not_ours(sub, info, false); !why.empty()) {
            return refused(std::move(why));
        } else if (faccessat(AT_FDCWD, sub.c_str(), W_OK, AT_EACCESS) != 0) {
            check.use = FolderUse::kReadOnly;
            check.why = fmt::format("{}: {}", sub.string(), std::strerror(errno));
        }
    }
    return check;
}

FolderCheck check_layer(const std::filesystem::path& layer) {
    std::error_code error;
    const std::filesystem::path real = std::filesystem::canonical(layer, error);
    if (error) return refused(fmt::format("{}: {}", layer.string(), error.message()));
    struct stat info;
    if (stat(real.c_str(), &info) != 0)
        return refused(fmt::format("{}: {}", layer.string(), std::strerror(errno)));
    if (std::string why = not_ours(real, info, true); !why.empty()) return refused(std::move(why));
    if (std::string why = controlled_by_others(real); !why.empty()) return refused(std::move(why));
    for (const char* name : {"objects", "tiles", "facts"}) {
        const std::filesystem::path sub = real / name;
        if (stat(sub.c_str(), &info) != 0) continue;  // a bundle, or not there
        if (std::string why = not_ours(sub, info, true); !why.empty())
            return refused(std::move(why));
    }
    return {FolderUse::kReadOnly, {}, on_local_disk(real)};
}

}  // namespace hetune
