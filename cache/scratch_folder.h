// A folder for the files of one compile or one emulated launch. A process that is killed leaves its
// folder behind; the next process removes it, because nobody holds its lock any more.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "cache/temp_file.h"

namespace hetune {

class ScratchFolder {
  public:
    // Made in the first of places() that can be written and has room, else in the roomiest that can
    // be written. Removed, with what is in it, by the destructor. Throws std::system_error that
    // names every place and its fault.
    explicit ScratchFolder(const std::filesystem::path& cache_folder = {});
    // Made in this place or nowhere.
    struct In {
        std::filesystem::path place;
    };
    explicit ScratchFolder(const In& in);
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const std::string& path() const { return path_; }

    // `tmp` of the cache folder, where that is ours alone and on a local disk; TMPDIR; /tmp;
    // /var/tmp; /dev/shm.
    static std::vector<std::filesystem::path> places(const std::filesystem::path& cache_folder);

  private:
    bool make_in(const std::filesystem::path& place);  // false: errno says why

    std::string path_;
    FileHandle lock_;  // flock on the folder
};

// Removes the scratch folders of this user in `place` whose owners are dead. Returns how many.
int sweep_scratch_folders(const std::filesystem::path& place);

}  // namespace hetune
