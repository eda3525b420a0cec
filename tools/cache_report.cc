// hetune cache stats | ls | show | why | path
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cache/bundle.h"
#include "cache/explain.h"
#include "cache/maintenance.h"
#include "cache/object_file.h"
#include "cache/recipe.h"
#include "cache/remote_transport.h"
#include "cache/tile_store.h"
#include "planner/plan/arch.h"
#include "runtime/compile/compiler.h"
#include "runtime/device/readable_bytes.h"
#include "runtime/load/memory.h"
#include "tools/cache_commands.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

std::string local_time(int64_t seconds) {
    return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(static_cast<time_t>(seconds)));
}

// Identities of the compilers of this machine; empty where one is not installed.
class InstalledCompilers {
  public:
    const std::string& identity(const std::string& arch, const std::string& name) {
        const auto [at, fresh] = known_.try_emplace({arch, name});
        if (fresh) try {
                at->second = choose_compiler(find_arch(arch), read_environment(), name)->identity();
            } catch (const std::runtime_error&) {
            }
        return at->second;
    }

  private:
    std::map<std::pair<std::string, std::string>, std::string> known_;
};

std::string part_of(const KeyParts& parts, const std::string& name) {
    const auto found = parts.find(name);
    return found == parts.end() ? std::string() : found->second;
}

std::string first_word(const std::string& text) { return text.substr(0, text.find(' ')); }

struct LayerSummary {
    std::string path;
    std::string kind;  // "folder", "bundle", or why it is not used
    uint64_t objects = 0;
    uint64_t other_builds = 0;        // by another build of a compiler than the one installed here
    std::set<std::string> compilers;  // of those

    void add(const ObjectInfo& info, InstalledCompilers& installed) {
        ++objects;
        const std::string compiler = part_of(info.parts, "compiler");
        if (compiler.empty()) return;  // a former fact (cache/object_file.h)
        const std::string& here =
            installed.identity(part_of(info.parts, "arch"), first_word(compiler));
        if (here.empty() || here == compiler) return;
        ++other_builds;
        compilers.insert(fmt::format("{}; here is {}", compiler, here));
    }
};

std::vector<LayerSummary> summarise_layers(const CacheFolder& folder, const Trust& trust) {
    std::vector<LayerSummary> layers;
    InstalledCompilers installed;
    for (const auto& path : folder.layers()) {
        if (path.empty()) continue;  // refused, with a warning
        LayerSummary layer{path.string(), "folder", 0, 0, {}};
        const auto add = [&](const ObjectInfo& info) { layer.add(info, installed); };
        try {
            std::error_code none;
            if (std::filesystem::is_regular_file(path, none)) {
                layer.kind = "bundle";
                each_object(Bundle(path, trust), add);
            } else {
                each_object(path, add);
            }
        } catch (const CacheError& error) {
            layer.kind = error.what();
        }
        layers.push_back(std::move(layer));
    }
    return layers;
}

// Without its password.
std::string shown_remote(const CacheOptions& options) {
    try {
        return split_url(options.remote.url).shown();
    } catch (const RemoteError& error) {
        return error.what();
    }
}

void print_stats(bool json) {
    const CacheOptions options = cache_options();
    CacheFolder folder(options);
    const auto [objects, bytes] = total_objects(folder);
    const auto packs = list_tile_packs(folder.readable());
    uint64_t pack_bytes = 0;
    for (const TilePackFile& pack : packs) pack_bytes += pack.bytes;
    std::unordered_map<std::string, double> counters;
    folder.with_index([&](Index& index) { counters = index.counters(); });
    const size_t recipes = list_recipes(folder.readable()).size();
    std::vector<std::string> places;
    for (const auto& layer : options.layers) places.push_back("layer " + layer.string());
    places.insert(places.end(), {"folder", "memory", "remote"});
    const double hits = counters["hits"];
    const double asked = hits + counters["misses"];
    const auto layers = summarise_layers(folder, options.trust);

    if (json) {
        Json list = Json::array(), used = Json::array();
        for (const LayerSummary& layer : layers)
            list.push_back({{"path", layer.path},
                            {"kind", layer.kind},
                            {"objects", layer.objects},
                            {"other_builds", layer.other_builds},
                            {"other_compilers", layer.compilers}});
        for (const std::string& place : places)
            used.push_back({{"place", place},
                            {"hits", counters["hits " + place]},
                            {"saved_ms", counters["saved_ms " + place]}});
        print_json({{"folder", folder.readable().string()},
                    {"writable", !folder.writable().empty()},
                    {"objects", objects},
                    {"object_bytes", bytes},
                    {"max_bytes", options.max_bytes},
                    {"tile_packs", packs.size()},
                    {"tile_bytes", pack_bytes},
                    {"max_tile_bytes", options.max_tile_bytes},
                    {"hits", hits},
                    {"misses", counters["misses"]},
                    {"stored", counters["stored"]},
                    {"damaged", counters["damaged"]},
                    {"saved_ms", counters["saved_ms"]},
                    {"recipes", recipes},
                    {"remote", options.remote.url.empty() ? Json() : Json(shown_remote(options))},
                    {"places", used},
                    {"layers", list}});
        return;
    }
    fmt::print("folder        {}{}\n", folder.readable().string(),
               folder.writable().empty() ? " (read-only)" : "");
    fmt::print("code objects  {}, {} of {}\n", objects, readable_bytes(bytes),
               readable_bytes(options.max_bytes));
    fmt::print("tile packs    {}, {} of {}\n", packs.size(), readable_bytes(pack_bytes),
               readable_bytes(options.max_tile_bytes));
    fmt::print("hits          {:.0f} of {:.0f} ({:.1f} %)\n", hits, asked,
               asked > 0 ? 100 * hits / asked : 0.0);
    fmt::print("stored        {:.0f}\n", counters["stored"]);
    fmt::print("damaged       {:.0f}\n", counters["damaged"]);
    fmt::print("time saved    {:.1f} s of compiling\n", counters["saved_ms"] / 1000);
    fmt::print("recipes       {}\n", recipes);
    for (const std::string& place : places)
        fmt::print("  from {}: {:.0f} hits, {:.1f} s saved\n", place, counters["hits " + place],
                   counters["saved_ms " + place] / 1000);
    for (const LayerSummary& layer : layers) {
        fmt::print("layer         {}: {}, {} code objects\n", layer.path, layer.kind,
                   layer.objects);
        for (const std::string& compiler : layer.compilers)
            fmt::print("  by another build of the compiler: {} (--any-compiler-build)\n", compiler);
    }
    if (!options.remote.url.empty()) fmt::print("remote        {}\n", shown_remote(options));
}

void print_list(const std::string& kernel, bool json) {
    CacheFolder folder(cache_options());
    auto rows = list_objects(folder);
    std::erase_if(rows,
                  [&](const ObjectRow& row) { return !kernel.empty() && row.kernel != kernel; });
    std::ranges::stable_sort(rows, std::ranges::greater(), &ObjectRow::used);
    const auto packs =
        kernel.empty() ? list_tile_packs(folder.readable()) : std::vector<TilePackFile>();
    if (json) {
        Json objects = Json::array();
        for (const ObjectRow& row : rows)
            objects.push_back({{"key", row.key.hex()},
                               {"kernel", row.kernel},
                               {"bytes", row.bytes},
                               {"compile_ms", row.compile_ms},
                               {"created", row.created},
                               {"used", row.used},
                               {"parts", row.parts}});
        Json tiles = Json::array();
        for (const TilePackFile& pack : packs)
            tiles.push_back({{"model", pack.model},
                             {"layout", pack.layout},
                             {"bytes", pack.bytes},
                             {"used", pack.used},
                             {"partial", pack.partial}});
        print_json({{"objects", objects}, {"tiles", tiles}});
        return;
    }
    for (const ObjectRow& row : rows) {
        const auto arch = row.parts.find("arch");
        fmt::print("{}  {:19}  {:>9}  {:8}  {}\n", row.key.hex(), local_time(row.used),
                   readable_bytes(row.bytes), arch == row.parts.end() ? "" : arch->second,
                   row.kernel);
    }
    for (const TilePackFile& pack : packs)
        fmt::print("{}  {:19}  {:>9}  tiles     {}{}\n", pack.model, local_time(pack.used),
                   readable_bytes(pack.bytes), pack.layout, pack.partial ? " (unfinished)" : "");
}

// The one row whose key begins with `prefix`.
ObjectRow row_of(CacheFolder& folder, const std::string& prefix) {
    std::vector<ObjectRow> found;
    for (ObjectRow& row : list_objects(folder))
        if (row.key.hex().starts_with(prefix)) found.push_back(std::move(row));
    if (found.size() == 1) return found[0];
    throw CacheError(fmt::format("{} keys of {} begin with '{}'; `hetune cache ls` has them all",
                                 found.empty() ? "no" : "several", folder.readable().string(),
                                 prefix));
}

void print_object(const std::string& prefix, bool json) {
    CacheFolder folder(cache_options());
    const ObjectRow row = row_of(folder, prefix);
    const auto path = object_path(folder.readable(), row.key);
    const auto file = read_file(path, kMaxObjectBytes);
    const auto code = file ? decode_object(*file, row.key) : std::nullopt;
    if (!code)
        throw CacheError(
            fmt::format("{} is damaged; `hetune cache verify --repair`", path.string()));
    const KernelResources& r = code->resources;
    const Json resources = {{"vgprs", r.vgprs},
                            {"sgprs", r.sgprs},
                            {"lds_bytes", r.lds_bytes},
                            {"scratch_bytes", r.scratch_bytes},
                            {"spilled_vgprs", r.spilled_vgprs},
                            {"spilled_sgprs", r.spilled_sgprs},
                            {"max_threads", r.max_threads},
                            {"code_bytes", r.code_bytes}};
    if (json) {
        print_json({{"key", row.key.hex()},
                    {"path", path.string()},
                    {"entry", code->entry},
                    {"bytes", code->bytes.size()},
                    {"compile_ms", code->compile_ms},
                    {"created", row.created},
                    {"used", row.used},
                    {"resources", resources},
                    {"parts", row.parts}});
        return;
    }
    fmt::print("key         {}\nfile        {}\nentry       {}\nbytes       {}\n", row.key.hex(),
               path.string(), code->entry, code->bytes.size());
    fmt::print("compiled    {} in {:.0f} ms\nlast used   {}\n", local_time(row.created),
               code->compile_ms, local_time(row.used));
    fmt::print("resources (-1: unknown)\n");
    for (const auto& [name, value] : resources.items())
        fmt::print("  {:16} {}\n", name, value.dump());
    fmt::print("key parts\n");
    for (const auto& [name, value] : row.parts) fmt::print("  {:16} {}\n", name, value);
}

// Calls `use(layer, info)` for every object of a kernel that the layers have.
void each_in_layers(
    CacheFolder& folder, const std::string& kernel,
    const std::function<void(const std::filesystem::path& layer, const ObjectInfo&)>& use) {
    const auto bundles = open_bundles(folder, folder.trust());
    for (size_t i = 0; i < bundles.size(); ++i) {
        const auto& layer = folder.layers()[i];
        const auto of_kernel = [&](const ObjectInfo& info) {
            if (part_of(info.parts, "template") == kernel) use(layer, info);
        };
        if (bundles[i])
            each_object(*bundles[i], of_kernel);
        else if (!layer.empty())
            each_object(layer, of_kernel);
    }
}

// For a kernel that nobody compiled here: where layers have it, and whether the installed compiler
// would make the same of it. False: no layer has one.
bool print_why_not(CacheFolder& folder, const std::string& kernel, bool json) {
    Json list = Json::array();
    InstalledCompilers installed;
    each_in_layers(folder, kernel, [&](const auto& layer, const ObjectInfo& info) {
        const std::string compiler = part_of(info.parts, "compiler");
        list.push_back(
            {{"layer", layer.string()},
             {"key", info.key.hex()},
             {"compiler", compiler},
             {"here", installed.identity(part_of(info.parts, "arch"), first_word(compiler))}});
    });
    if (list.empty()) return false;
    if (json) {
        print_json({{"kernel", kernel}, {"compiled", nullptr}, {"layers", list}});
        return true;
    }
    fmt::print("{} was not compiled here; layers have it:\n", kernel);
    for (const Json& one : list) {
        const std::string here = one["here"], compiler = one["compiler"];
        fmt::print("  {} {}\n", one["layer"].get<std::string>(), one["key"].get<std::string>());
        if (here.empty())
            fmt::print("    compiler: {}, which is not installed here\n", compiler);
        else if (here == compiler)
            fmt::print("    compiler: as here\n");
        else
            fmt::print("    compiler: {} -> {} here (--any-compiler-build)\n", compiler, here);
    }
    return true;
}

// `which`: a kernel, a key or its beginning, or empty for the kernel compiled last.
void print_why(const std::string& which, bool json) {
    CacheFolder folder(cache_options());
    const auto rows = list_objects(folder);
    auto last = std::ranges::find(rows.rbegin(), rows.rend(), which, &ObjectRow::kernel);
    if (which.empty()) last = rows.rbegin();
    if (last == rows.rend() && !which.empty() && print_why_not(folder, which, json)) return;
    if (last == rows.rend() && !which.empty()) {
        const CacheKey key = row_of(folder, which).key;
        last = std::ranges::find(rows.rbegin(), rows.rend(), key, &ObjectRow::key);
    }
    if (last == rows.rend())
        throw CacheError(fmt::format("no kernel is stored in {}", folder.readable().string()));
    std::vector<ObjectRow> earlier;  // what layers have was there before
    each_in_layers(folder, last->kernel, [&](const auto&, const ObjectInfo& info) {
        earlier.push_back({.key = info.key, .kernel = last->kernel, .parts = info.parts});
    });
    for (const ObjectRow& row : std::span(rows.begin(), last.base() - 1))
        if (row.kernel == last->kernel) earlier.push_back(row);
    const auto reason = explain_miss(last->parts, earlier);

    if (json) {
        Json differences = Json::array();
        if (reason)
            for (const PartDifference& part : reason->differences)
                differences.push_back(
                    {{"part", part.name}, {"before", part.before}, {"now", part.now}});
        print_json({{"kernel", last->kernel},
                    {"key", last->key.hex()},
                    {"compiled", last->created},
                    {"nearest", reason ? Json(reason->nearest.key.hex()) : Json()},
                    {"differences", differences}});
        return;
    }
    fmt::print("{} was compiled {} as {}\n", last->kernel, local_time(last->created),
               last->key.hex());
    if (!reason) {
        fmt::print("because no {} was stored before\n", last->kernel);
        return;
    }
    fmt::print("because it differs from the nearest one stored before, {}, in\n",
               reason->nearest.key.hex());
    for (const PartDifference& part : reason->differences)
        fmt::print("  {}: {} -> {}\n", part.name, part.before.empty() ? "(none)" : part.before,
                   part.now.empty() ? "(none)" : part.now);
    if (reason->differences.empty())
        fmt::print("  nothing that the key parts name: the version of the key itself changed\n");
}

void print_path(bool json) {
    const CacheFolder folder(cache_options());
    Json layers = Json::array();
    for (const auto& layer : folder.layers())
        if (!layer.empty()) layers.push_back(layer.string());
    if (json) {
        print_json({{"folder", folder.readable().string()},
                    {"writable", !folder.writable().empty()},
                    {"layers", layers}});
        return;
    }
    fmt::print("{}\n", folder.readable().string());
    for (const auto& layer : layers) fmt::print("{}\n", layer.get<std::string>());
}

}  // namespace

CommandBody cache_stats(CLI::App& app) {
    app.footer("Example:\n  hetune cache stats --json");
    return [json = json_flag(app)] {
        print_stats(*json);
        return 0;
    };
}

CommandBody cache_ls(CLI::App& app) {
    auto kernel = std::make_shared<std::string>();
    app.add_option("--kernel", *kernel, "Only the objects of this kernel");
    app.footer("Last used first. Example:\n  hetune cache ls --kernel gemv");
    return [kernel, json = json_flag(app)] {
        print_list(*kernel, *json);
        return 0;
    };
}

CommandBody cache_show(CLI::App& app) {
    auto key = std::make_shared<std::string>();
    app.add_option("KEY", *key, "A key, or the beginning of one")->required();
    app.footer("Example:\n  hetune cache show 3f09");
    return [key, json = json_flag(app)] {
        print_object(*key, *json);
        return 0;
    };
}

CommandBody cache_why(CLI::App& app) {
    auto which = std::make_shared<std::string>();
    auto last = std::make_shared<bool>(false);
    auto* kernel = app.add_option("KERNEL", *which, "A kernel (its last compile), or a key");
    auto* flag = app.add_flag("--last", *last, "The kernel compiled last");
    kernel->excludes(flag);
    app.footer("Examples:\n  hetune cache why gemv\n  hetune cache why --last");
    return [which, last, json = json_flag(app)] {
        if (which->empty() && !*last)
            throw CacheError("`hetune cache why` needs a kernel, a key or --last");
        print_why(*which, *json);
        return 0;
    };
}

CommandBody cache_path(CLI::App& app) {
    app.footer("Example:\n  du -sh \"$(hetune cache path)\"");
    return [json = json_flag(app)] {
        print_path(*json);
        return 0;
    };
}

}  // namespace hetune
