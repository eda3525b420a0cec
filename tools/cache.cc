// hetune cache: what is stored, why a kernel was compiled, and looking after it.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/cache_commands.h"
#include "tools/json_output.h"
#include "tools/terminal.h"

namespace hetune {

CacheOptions cache_options() {
    return cache_options_from_environment(
        [](const std::string& line) { tell("hetune: {}\n", line); });
}

std::shared_ptr<bool> json_flag(CLI::App& app) {
    auto json = std::make_shared<bool>(false);
    app.add_flag("--json", *json, "Print JSON");
    return json;
}

void print_json(const nlohmann::ordered_json& json) { fmt::print("{}\n", json_text(json)); }

void require_writable(const CacheFolder& folder) {
    if (folder.writable().empty())
        throw CacheError(
            "the cache folder cannot be written; set HETUNE_CACHE_DIR to one that can");
}

CommandBody add_subcommands(CLI::App& app, std::span<const CacheSubcommand> commands) {
    app.require_subcommand(1);
    auto chosen = std::make_shared<CommandBody>();
    for (const CacheSubcommand& command : commands) {
        CLI::App* sub = app.add_subcommand(command.name, command.description);
        sub->callback([chosen, body = command.setup(*sub)] { *chosen = body; });
    }
    return [chosen] { return (*chosen)(); };
}

namespace {

constexpr CacheSubcommand kCacheCommands[] = {
    {"stats", "Size, hits, misses and time saved", cache_stats},
    {"ls", "Lists the code objects and tile packs", cache_ls},
    {"show", "Prints all that is known about one code object", cache_show},
    {"why", "Says why a kernel was compiled: what differs from the nearest stored key", cache_why},
    {"verify", "Reads and checks every object, tile pack and row", cache_verify},
    {"gc", "Removes what has been unused longest", cache_gc},
    {"export", "Writes a bundle: one file that serves as a layer or is imported", cache_export},
    {"import", "Adds the content of a bundle to the cache", cache_import},
    {"keygen", "Makes a key that signs bundles and remote objects", cache_keygen},
    {"recipes", "What was needed, to be compiled elsewhere: export, merge, ls", cache_recipes},
    {"path", "Prints the folder and the layers", cache_path},
    {"clear", "Removes all but tunings, and prompts of --prompt-cache", cache_clear},
};

const RegisterCommand kCache{
    "cache", "Inspects and looks after the cache of compiled kernels and repacked weights",
    [](CLI::App& app) {
        app.footer(
            "Examples:\n  hetune cache stats\n  hetune cache why gemv\n"
            "  hetune cache gc --size 500M --age 30d\n\n"
            "The cache is in HETUNE_CACHE_DIR, else XDG_CACHE_HOME/hetune, else ~/.cache/hetune;\n"
            "HETUNE_CACHE_PATH names read-only layers, HETUNE_CACHE_SIZE and HETUNE_TILES_SIZE\n"
            "the limits; docs/cache.md has them all. `hetune cache COMMAND --help` has the options "
            "and an example.");
        return add_subcommands(app, kCacheCommands);
    }};

}  // namespace
}  // namespace hetune
