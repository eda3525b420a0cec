// A folder of a test's own, removed with all it holds. (TempFolder is one of the compilers.)
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace hetune {

class TestFolder {
  public:
    explicit TestFolder(const std::string& name = "hetune") {
        std::string path = std::filesystem::temp_directory_path() / (name + ".XXXXXX");
        path_ = mkdtemp(path.data());
    }
    ~TestFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TestFolder(const TestFolder&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace hetune
