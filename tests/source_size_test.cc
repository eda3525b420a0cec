// A source file has one idea and is read at once: at most 500 lines.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace {

namespace fs = std::filesystem;

constexpr auto kMostLines = 500;  // no table has more; one that does gets named here

TEST_CASE("no source file has more than 500 lines") {
    const fs::path root = HETUNE_SOURCE_DIR;
    size_t files = 0;
    for (const char* top : {"planner", "runtime", "cache", "kernel_templates", "tools"})
        for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
            const std::string kind = entry.path().extension();
            if (kind != ".cc" && kind != ".h" && kind != ".hip") continue;
            ++files;
            std::ifstream text(entry.path());
            const auto lines = std::count(std::istreambuf_iterator<char>(text), {}, '\n');
            CHECK_MESSAGE(lines <= kMostLines, fs::relative(entry.path(), root).generic_string(),
                          " has ", lines, " lines: split it by what belongs together");
        }
    CHECK(files > 300);  // the test reads the tree
}

}  // namespace
