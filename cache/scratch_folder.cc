#include "cache/scratch_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "cache/folder.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "hetune-scratch-";
// A compile writes its object and one intermediate object, of 0.2 MB each at most; this is enough
// for one on each of 32 cores.
constexpr uint64_t kRoomBytes = 16 << 20;

uint64_t free_bytes_of(const fs::path& place) {
    struct statvfs info;
    return statvfs(place.c_str(), &info) == 0 ? uint64_t{info.f_bavail} * info.f_frsize : 0;
}

FileHandle open_folder(const fs::path& folder) {
    return FileHandle(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

// Whether `folder` is still the one that `handle` has open: a sweeper may have removed it.
bool still_there(const fs::path& folder, const FileHandle& handle) {
    struct stat named, opened;
    return fstat(handle.get(), &opened) == 0 && lstat(folder.c_str(), &named) == 0 &&
           named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

}  // namespace

std::vector<fs::path> ScratchFolder::places(const fs::path& cache_folder) {
    std::vector<fs::path> list;
    if (!cache_folder.empty()) {
        // A folder in which others can rename would let them give us their object.
        const FolderCheck check = prepare_cache_folder(cache_folder);
        if (check.use == FolderUse::kWritable && check.local_disk)
            list.push_back(cache_folder / "tmp");
    }
    const char* named = std::getenv("TMPDIR");
    if (named != nullptr && *named != '\0') list.emplace_back(named);
    for (const char* usual : {"/tmp", "/var/tmp", "/dev/shm"})
        if (std::ranges::find(list, fs::path(usual)) == list.end()) list.emplace_back(usual);
    return list;
}

bool ScratchFolder::make_in(const fs::path& place) {
    for (;;) {
        std::string path = place / kPrefix;
        path += "XXXXXX";
        if (mkdtemp(path.data()) == nullptr) return false;
        FileHandle lock = open_folder(path);
        if (!lock && errno != ENOENT) {
            const int why = errno;
            rmdir(path.c_str());
            errno = why;
            return false;
        }
        // A sweeper that was faster holds the lock, or has removed the folder. Where there are no
        // locks (some network file systems) there are no sweepers.
        if (lock && flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) continue;
        if (!lock || !still_there(path, lock)) continue;
        path_ = std::move(path);
        lock_ = std::move(lock);
        return true;
    }
}

ScratchFolder::ScratchFolder(const In& in) {
    if (!make_in(in.place))
        throw std::system_error(errno, std::generic_category(),
                                "no temporary folder can be made in " + in.place.string());
}

ScratchFolder::ScratchFolder(const fs::path& cache_folder) {
    std::vector<fs::path> list = places(cache_folder);
    std::ranges::stable_sort(list, std::ranges::greater{}, [](const fs::path& place) {
        return std::min(free_bytes_of(place), kRoomBytes);
    });
    std::string tried;
    int first_error = 0;
    for (const fs::path& place : list) {
        // The cache's own folder is swept when a store opens it.
        if (place.parent_path() != cache_folder) sweep_scratch_folders(place);
        if (make_in(place)) return;
        if (first_error == 0) first_error = errno;
        tried += (tried.empty() ? "" : ", ") + place.string() + " (" +
                 std::generic_category().message(errno) + ")";
    }
    throw std::system_error(first_error, std::generic_category(),
                            "no temporary folder can be made in " + tried +
                                "; set TMPDIR or HETUNE_CACHE_DIR to a folder with room");
}

ScratchFolder::~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

int sweep_scratch_folders(const fs::path& place) {
    int removed = 0;
    std::error_code error;
    for (fs::directory_iterator entry(place, error), end; !error && entry != end;
         entry.increment(error)) {
        const fs::path& path = entry->path();
        if (!path.filename().string().starts_with(kPrefix)) continue;
        const FileHandle handle = open_folder(path);
        struct stat info;
        if (!handle || fstat(handle.get(), &info) != 0 || info.st_uid != geteuid()) continue;
        if (flock(handle.get(), LOCK_EX | LOCK_NB) != 0) continue;
        std::error_code ignored;
        if (fs::remove_all(path, ignored) != static_cast<uintmax_t>(-1)) ++removed;
    }
    return removed;
}

}  // namespace hetune
