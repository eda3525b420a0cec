// A copy of the kernel templates in which some lines are broken on purpose, for
// HETUNE_TEMPLATE_DIR.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/cache/test_folder.h"

namespace hetune::testing {

class BrokenTemplates {
  public:
    BrokenTemplates() {
        std::filesystem::copy(HETUNE_SOURCE_DIR "/kernel_templates",
                              folder_.path() / "kernel_templates",
                              std::filesystem::copy_options::recursive);
    }
    std::string path() const { return folder_.path() / "kernel_templates"; }

    // The text must be in the file, or the test tests nothing.
    BrokenTemplates& replace(const std::string& file, const std::string& what,
                             const std::string& by) {
        const std::filesystem::path full = path() + "/" + file;
        std::ostringstream text;
        text << std::ifstream(full).rdbuf();
        std::string content = text.str();
        const size_t at = content.find(what);
        REQUIRE(at != std::string::npos);
        content.replace(at, what.size(), by);
        std::ofstream(full) << content;
        return *this;
    }

  private:
    TestFolder folder_;
};

}  // namespace hetune::testing
