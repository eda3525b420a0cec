// The subcommands of `hetune cache`: each adds its options to `app` and gives its body.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "cache/cache_folder.h"
#include "tools/command.h"

namespace hetune {

// cache_report.cc
CommandBody cache_stats(CLI::App& app);
CommandBody cache_ls(CLI::App& app);
CommandBody cache_show(CLI::App& app);
CommandBody cache_why(CLI::App& app);
CommandBody cache_path(CLI::App& app);

// cache_upkeep.cc
CommandBody cache_verify(CLI::App& app);
CommandBody cache_gc(CLI::App& app);
CommandBody cache_clear(CLI::App& app);

// cache_transfer.cc
CommandBody cache_export(CLI::App& app);
CommandBody cache_import(CLI::App& app);
CommandBody cache_keygen(CLI::App& app);

// cache_recipes.cc
CommandBody cache_recipes(CLI::App& app);

struct CacheSubcommand {
    const char* name;
    const char* description;
    CommandBody (*setup)(CLI::App&);
};
// One of them is required; the body is that of the one that was given.
CommandBody add_subcommands(CLI::App& app, std::span<const CacheSubcommand> commands);

// The cache of the environment; warnings go to stderr.
CacheOptions cache_options();
void print_json(const nlohmann::ordered_json& json);
// Throws CacheError.
void require_writable(const CacheFolder& folder);
// --json
std::shared_ptr<bool> json_flag(CLI::App& app);

}  // namespace hetune
