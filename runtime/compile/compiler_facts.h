// What is known about a compiler library from asking it once: kept in `compilers.json` of the cache
// folder, so that a start opens no library, for as long as none of its files changes.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace hetune {

struct CompilerFacts {
    std::string version;
    std::string identity;                      // build ids of all that was loaded
    std::vector<std::filesystem::path> files;  // those
    std::map<std::string, std::string> archs;  // arch -> "" where it works, else why not
};

// Facts about the library at `library`; empty when none are kept, or when size, inode or time of
// one of its files is another now. `folder` empty: nothing is kept.
std::optional<CompilerFacts> find_facts(const std::filesystem::path& folder,
                                        const std::filesystem::path& library);

// Best effort. Of two writers the last wins, and the loser's facts are found out again.
void keep_facts(const std::filesystem::path& folder, const std::filesystem::path& library,
                const CompilerFacts& facts);

}  // namespace hetune
