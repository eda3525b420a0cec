// hetune cache verify | gc | clear
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "cache/maintenance.h"
#include "cache/tile_store.h"
#include "runtime/device/readable_bytes.h"
#include "runtime/load/memory.h"
#include "runtime/load/weights.h"
#include "tools/cache_commands.h"
#include "tools/options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDamaged = 1;

// "30d", "12h", "90m", "45s" in seconds; empty where the text is none of these.
std::optional<int64_t> parse_age(const std::string& text) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string unit(end, text.data() + text.size());
    const std::map<std::string, int64_t> seconds = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
    const auto found = seconds.find(unit);
    if (error != std::errc() || found == seconds.end() || number < 0 || number > 1'000'000)
        return std::nullopt;
    return number * found->second;
}

std::string check_age(const std::string& text) {
    return parse_age(text) ? ""
                           : fmt::format(
                                 "'{}' is no age; write a number up to 1000000 and s, m, "
                                 "h or d, such as 30d",
                                 text);
}

// As size_option(), but 0 is one, too: nothing stays.
std::string check_size(const std::string& text) {
    return parse_size(text) ? "" : fmt::format("'{}' is no size; write 500M or 2G", text);
}

int verify(bool repair, bool json) {
    CacheFolder folder(cache_options());
    if (repair) require_writable(folder);
    const VerifyReport report = verify_cache(folder, repair);
    if (json) {
        print_json({{"clean", report.clean()},
                    {"objects", report.objects},
                    {"tile_packs", report.packs},
                    {"recipes", report.recipes},
                    {"tunings", report.tunings},
                    {"damaged", report.damaged},
                    {"older", report.older},
                    {"strange", report.strange},
                    {"unreadable", report.unreadable},
                    {"rows_without_file", report.rows_without_file},
                    {"files_without_row", report.files_without_row},
                    {"index_problem", report.index_problem},
                    {"repaired", repair && !report.clean()}});
    } else {
        fmt::print("{} code objects, {} tile packs, {} recipes and {} tunings are good\n",
                   report.objects, report.packs, report.recipes, report.tunings);
        for (const auto& path : report.damaged)
            fmt::print("damaged{}: {}\n", repair ? " and removed" : "", path);
        for (const auto& path : report.unreadable) fmt::print("cannot be read: {}\n", path);
        if (!report.older.empty())
            fmt::print(
                "{} files are of an older hetune, {} first; `hetune cache gc` removes them\n",
                report.older.size(), report.older[0]);
        for (const auto& path : report.strange) fmt::print("not of this hetune: {}\n", path);
        if (report.rows_without_file + report.files_without_row > 0)
            fmt::print(
                "{} rows of the index had no file, {} files had no row: mended (a process was "
                "killed)\n",
                report.rows_without_file, report.files_without_row);
        if (!report.index_problem.empty()) fmt::print("the index: {}\n", report.index_problem);
        const bool mendable = !report.damaged.empty() || !report.index_problem.empty();
        if (mendable)
            fmt::print("{}\n", repair ? "repaired" : "`hetune cache verify --repair` mends this");
    }
    return report.clean() || (repair && report.unreadable.empty()) ? 0 : 1;
}

// Compares a model file with what a load would take from the cache in its place.
int verify_model(const std::string& path, bool repair, bool json) {
    using State = ModelTiles::Comparison::State;
    const CacheOptions options = cache_options();
    if (repair) require_writable(CacheFolder(options));
    const ModelFile file(path);
    TileStore store(options);
    const auto [state, pack] = ModelTiles(file, store).compare_whole(repair);
    const bool good = state == State::kNone || state == State::kSame;
    if (json) {
        const char* const names[] = {"none", "same", "other", "damaged"};
        print_json({{"file", path},
                    {"tiles", pack.empty() ? Json(nullptr) : Json(pack)},
                    {"state", names[static_cast<int>(state)]},
                    {"repaired", repair && !good}});
        return good || repair ? 0 : kDamaged;
    }
    if (state == State::kNone) fmt::print("{}: the cache has no tiles of this file\n", path);
    if (state == State::kSame) fmt::print("{}: its tiles are those of its bytes: {}\n", path, pack);
    if (state == State::kOther)
        fmt::print("{}: has changed: its tiles are of other bytes: {}\n", path, pack);
    if (state == State::kDamaged) fmt::print("damaged{}: {}\n", repair ? " and removed" : "", pack);
    if (!good)
        fmt::print("{}\n", repair ? "repaired: the next load repacks it"
                                  : "`hetune cache verify FILE --repair` mends this");
    return good || repair ? 0 : kDamaged;
}

void print_removed(const Removed& removed, bool json) {
    if (json)
        print_json({{"objects", removed.objects},
                    {"object_bytes", removed.object_bytes},
                    {"tile_bytes", removed.pack_bytes},
                    {"texts", removed.texts}});
    else
        fmt::print("removed {} code objects ({}), {} of tiles, {} tunings and recipes\n",
                   removed.objects, readable_bytes(removed.object_bytes),
                   readable_bytes(removed.pack_bytes), removed.texts);
}

}  // namespace

CommandBody cache_verify(CLI::App& app) {
    auto repair = std::make_shared<bool>(false);
    auto file = std::make_shared<std::string>();
    app.add_option("FILE", *file,
                   "instead of the cache: a model file, compared whole with its tiles")
        ->check(not_empty());
    app.add_flag("--repair", *repair, "Remove what is damaged and mend the index");
    app.footer(
        "Exit code 1 when something is wrong and not repaired. Examples:\n"
        "  hetune cache verify --repair\n"
        "  hetune cache verify model.gguf");
    return [repair, file, json = json_flag(app)] {
        return file->empty() ? verify(*repair, *json) : verify_model(*file, *repair, *json);
    };
}

CommandBody cache_gc(CLI::App& app) {
    struct Limits {
        std::string size;
        std::string tiles_size;
        std::string age;
    };
    auto limits = std::make_shared<Limits>();
    app.add_option("--size", limits->size, "What code objects may take (HETUNE_CACHE_SIZE)")
        ->check(check_size);
    app.add_option("--tiles-size", limits->tiles_size, "What tiles may take (HETUNE_TILES_SIZE)")
        ->check(check_size);
    app.add_option("--age", limits->age, "Remove code objects unused for that long: 30d, 12h")
        ->check(check_age);
    app.footer(
        "What an older hetune left in another format goes first.\n\n"
        "Example:\n  hetune cache gc --size 500M --age 30d");
    return [limits, json = json_flag(app)] {
        const CacheOptions options = cache_options();
        CacheFolder folder(options);
        require_writable(folder);
        std::optional<int64_t> age;
        if (!limits->age.empty()) age = parse_age(limits->age);
        const uint64_t bytes = parse_size(limits->size).value_or(options.max_bytes);
        const uint64_t tile_bytes = parse_size(limits->tiles_size).value_or(options.max_tile_bytes);
        Removed removed = remove_older(folder);
        const Removed unused = evict_objects(folder, bytes, age);
        removed.objects += unused.objects;
        removed.object_bytes += unused.object_bytes;
        removed.pack_bytes += evict_tile_packs(folder.writable(), tile_bytes);
        print_removed(removed, *json);
        return 0;
    };
}

CommandBody cache_clear(CLI::App& app) {
    auto yes = std::make_shared<bool>(false);
    app.add_flag("--yes", *yes, "Really do it");
    app.footer("Example:\n  hetune cache clear --yes");
    return [yes, json = json_flag(app)] {
        CacheFolder folder(cache_options());
        require_writable(folder);
        if (!*yes)
            throw CacheError(fmt::format("this empties {}, but for tunings; say --yes",
                                         folder.writable().string()));
        print_removed(clear_cache(folder), *json);
        return 0;
    };
}

}  // namespace hetune
