// The arrows between the folders of planner/ and runtime/: an include goes to the own folder or to
// one that stands before it (docs/architecture.md).
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

// Lowest first.
const std::vector<std::string> kFolders = {
    "kernel_templates", "planner/file",   "planner/graph",  "planner/plan",  "planner/fusion",
    "planner/lower",    "planner",        "cache",          "runtime/text",  "runtime/compile",
    "runtime/device",   "runtime/load",   "runtime/oracle", "runtime/trial", "runtime/engine",
    "runtime/api",      "runtime/server", "tools"};

// The innermost of the folders that holds `path`; -1: none.
long rank(const fs::path& path) {
    for (fs::path folder = path.parent_path(); !folder.empty(); folder = folder.parent_path())
        if (const auto at = std::ranges::find(kFolders, folder.generic_string());
            at != kFolders.end())
            return at - kFolders.begin();
    return -1;
}

TEST_CASE("includes go one way: to a folder's own files and to folders below") {
    const fs::path root = HETUNE_SOURCE_DIR;
    const std::regex include("\\s*#include \"([a-z_]+/[^\"]+)\".*");
    int includes = 0;
    for (const char* top : {"kernel_templates", "planner", "cache", "runtime"})
        for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
            const std::string kind = entry.path().extension();
            if (kind != ".cc" && kind != ".h") continue;
            const fs::path file = fs::relative(entry.path(), root);
            std::ifstream text(entry.path());
            std::smatch found;
            for (std::string line; std::getline(text, line);) {
                if (!std::regex_match(line, found, include)) continue;
                const std::string included = found[1];
                if (rank(included) < 0) continue;  // of a template, relative to kernel_templates
                ++includes;
                CHECK_MESSAGE(rank(included) <= rank(file), file.generic_string(), " includes ",
                              included);
            }
        }
    CHECK(includes > 500);  // the test reads the tree
}

}  // namespace
