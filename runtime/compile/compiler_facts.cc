#include "runtime/compile/compiler_facts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFile = "compilers.json";
constexpr int kVersion = 2;
constexpr uint64_t kMaxBytes = 4 << 20;

// Changes when the file does: an upgrade writes a new one, and who puts mtime back moves ctime.
std::string state_of(const fs::path& file) {
    struct stat info {};
    if (stat(file.c_str(), &info) != 0) return "gone";
    return fmt::format("{} {} {}.{:09} {}.{:09}", info.st_size, info.st_ino, info.st_mtim.tv_sec,
                       info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec);
}

// Not read unless it is ours alone: it decides which compiler's objects are used. nullptr for what
// is damaged or of another version.
Json read_all(const fs::path& folder) try {
    struct stat info {};
    const fs::path file = folder / kFile;
    if (folder.empty() || stat(file.c_str(), &info) != 0 || info.st_uid != geteuid() ||
        (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return nullptr;
    const auto bytes = read_file(file, kMaxBytes);
    if (!bytes) return nullptr;
    return open_sealed_json({reinterpret_cast<const char*>(bytes->data()), bytes->size()}, "format",
                            kVersion);
} catch (const CacheError&) {
    return nullptr;
}

}  // namespace

std::optional<CompilerFacts> find_facts(const fs::path& folder, const fs::path& library) try {
    using Texts = std::map<std::string, std::string>;
    const Json all = read_all(folder);
    if (!all.is_object() || !all.at("libraries").contains(library.string())) return std::nullopt;
    const Json& entry = all["libraries"][library.string()];
    CompilerFacts facts{.version = json_value<std::string>(entry, "version"),
                        .identity = json_value<std::string>(entry, "identity"),
                        .archs = json_value<Texts>(entry, "archs")};
    for (const auto& [path, state] : json_value<Texts>(entry, "files")) {
        if (state != state_of(path)) return std::nullopt;
        facts.files.emplace_back(path);
    }
    return facts;
} catch (const CacheError&) {
    return std::nullopt;
} catch (const Json::exception&) {  // no "libraries"
    return std::nullopt;
}

void keep_facts(const fs::path& folder, const fs::path& library, const CompilerFacts& facts) {
    std::error_code none;
    if (folder.empty() || !fs::is_directory(folder, none)) return;
    Json all = read_all(folder);
    if (!all.is_object() || !all["libraries"].is_object())
        all = {{"format", kVersion}, {"libraries", Json::object()}};
    Json files = Json::object();
    for (const fs::path& file : facts.files) files[file.string()] = state_of(file);
    all["libraries"][library.string()] = {{"version", facts.version},
                                          {"identity", facts.identity},
                                          {"archs", facts.archs},
                                          {"files", files}};
    const fs::path temporary = folder / fmt::format(".{}.{}", kFile, gettid());
    {
        std::ofstream out(temporary);
        out << sealed_json(all, 1) << '\n';
        if (!out.flush()) {
            fs::remove(temporary, none);
            return;
        }
    }
    fs::permissions(temporary, fs::perms::owner_read | fs::perms::owner_write, none);
    fs::rename(temporary, folder / kFile, none);
}

}  // namespace hetune
