#include "runtime/compile/compiler_facts.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

namespace hetune {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFile = "compilers.json";
constexpr int kVersion = 1;

// Changes when the file does: an upgrade writes a new one.
std::string state_of(const fs::path& file) {
    struct stat info {};
    if (stat(file.c_str(), &info) != 0) return "gone";
    return fmt::format("{} {} {}.{:09}", info.st_size, info.st_ino, info.st_mtim.tv_sec,
                       info.st_mtim.tv_nsec);
}

// Not read unless it is ours alone: it decides which compiler's objects are used.
nlohmann::json read_all(const fs::path& folder) {
    struct stat info {};
    const fs::path file = folder / kFile;
    if (folder.empty() || stat(file.c_str(), &info) != 0 || info.st_uid != geteuid() ||
        (info.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return nullptr;
    std::ifstream text(file);
    const auto all = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    return all.is_object() && all.value("format", 0) == kVersion ? all : nullptr;
}

}  // namespace

std::optional<CompilerFacts> find_facts(const fs::path& folder, const fs::path& library) try {
    const nlohmann::json all = read_all(folder);
    if (!all.is_object() || !all.at("libraries").contains(library.string())) return std::nullopt;
    const nlohmann::json& entry = all["libraries"][library.string()];
    CompilerFacts facts{.version = entry.at("version"),
                        .identity = entry.at("identity"),
                        .archs = entry.at("archs")};
    for (const auto& [path, state] : entry.at("files").items()) {
        if (state != state_of(path)) return std::nullopt;
        facts.files.emplace_back(path);
    }
    return facts;
} catch (const nlohmann::json::exception&) {
    return std::nullopt;  // some other program's file of that name
}

void keep_facts(const fs::path& folder, const fs::path& library, const CompilerFacts& facts) {
    std::error_code none;
    if (folder.empty() || !fs::is_directory(folder, none)) return;
    nlohmann::json all = read_all(folder);
    if (!all.is_object() || !all["libraries"].is_object())
        all = {{"format", kVersion}, {"libraries", nlohmann::json::object()}};
    nlohmann::json files = nlohmann::json::object();
    for (const fs::path& file : facts.files) files[file.string()] = state_of(file);
    all["libraries"][library.string()] = {{"version", facts.version},
                                          {"identity", facts.identity},
                                          {"archs", facts.archs},
                                          {"files", files}};
    const fs::path temporary = folder / fmt::format(".{}.{}", kFile, gettid());
    {
        std::ofstream out(temporary);
        out << all.dump(1) << '\n';
        if (!out.flush()) {
            fs::remove(temporary, none);
            return;
        }
    }
    fs::permissions(temporary, fs::perms::owner_read | fs::perms::owner_write, none);
    fs::rename(temporary, folder / kFile, none);
}

}  // namespace hetune
