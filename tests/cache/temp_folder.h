// A folder of a test's own, removed with all it holds.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace hetune {

class TempFolder {
  public:
    explicit TempFolder(const std::string& name = "hetune") {
        std::string path = std::filesystem::temp_directory_path() / (name + ".XXXXXX");
        path_ = mkdtemp(path.data());
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace hetune
