// hetune tune: what autotune found, and moving it between boxes.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cache/json_text.h"
#include "cache/tuning_store.h"
#include "planner/file/read_file.h"
#include "planner/plan/tuning_space.h"
#include "runtime/compile/compiler.h"
#include "runtime/trial/tuner.h"
#include "tools/cache_commands.h"
#include "tools/json_output.h"
#include "tools/options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

struct Filter {
    std::string kernel = "*", arch, device;

    void add_to(CLI::App& app) {
        app.add_option("--kernel", kernel,
                       "names of templates, with * and ?; \"plan\": choices of variants")
            ->capture_default_str();
        app.add_option("--arch", arch, "of this arch only");
        app.add_option("--device", device, "of devices whose name has this in it");
    }
    bool takes(const TuningRecord& r) const {
        return matches_glob(kernel, r.key.kernel) && (arch.empty() || r.key.arch == arch) &&
               r.key.device.find(device) != std::string::npos;
    }
};

std::vector<TuningRecord> records_of(const CacheFolder& folder, const Filter& filter) {
    auto records = TuningStore(folder).all();
    std::erase_if(records, [&](const TuningRecord& r) { return !filter.takes(r); });
    return records;
}

// Identities of today's compilers by arch; empty where there is none.
class Today {
  public:
    bool stale(const TuningRecord& r) {
        auto [at, fresh] = identities_.try_emplace(r.key.arch);
        if (fresh) try {
                at->second = choose_compiler(find_arch(r.key.arch), read_environment())->identity();
            } catch (const std::runtime_error&) {
                // No compiler for it here: nothing to compare with.
            }
        return !at->second.empty() && at->second != r.key.compiler;
    }

  private:
    std::map<std::string, std::string> identities_;
};

std::string point_text(const NamedValues& point) { return to_string(point); }

std::string gain_text(const TuningRecord& r) {
    return r.us > 0 ? fmt::format("{:.2f}x", r.default_us / r.us) : "-";
}

std::string id_of(const TuningRecord& r) { return r.key.hash().hex().substr(0, 10); }

const TuningRecord& find_record(const std::vector<TuningRecord>& records, const std::string& id) {
    std::vector<const TuningRecord*> found;
    for (const TuningRecord& record : records)
        if (record.key.hash().hex().starts_with(id)) found.push_back(&record);
    if (found.size() == 1) return *found[0];
    throw std::runtime_error(
        fmt::format("{} tunings have an id that starts with '{}'; `hetune tune ls` lists them",
                    found.size(), id));
}

Json list_json(const std::vector<TuningRecord>& records, Today& today) {
    Json list = Json::array();
    for (const TuningRecord& record : records) {
        Json one = to_json(record);
        one.erase("trials");
        one["id"] = record.key.hash().hex();
        one["stale"] = today.stale(record);
        list.push_back(std::move(one));
    }
    return list;
}

CommandBody tune_ls(CLI::App& app) {
    auto filter = std::make_shared<Filter>();
    filter->add_to(app);
    app.footer("Example:\n  hetune tune ls --kernel 'gemv*'");
    return [filter, json = json_flag(app)] {
        const CacheFolder folder(cache_options());
        const auto records = records_of(folder, *filter);
        Today today;
        if (*json) {
            fmt::print("{}\n", json_text(list_json(records, today)));
            return 0;
        }
        fmt::print("{:<10} {:<9} {:<20} {:>9} {:>9} {:>6}  {}\n", "id", "arch", "chosen", "us",
                   "default", "gain", "shape");
        for (const TuningRecord& r : records)
            fmt::print("{:<10} {:<9} {:<20} {:>9.2f} {:>9.2f} {:>6}  {}{}{}\n", id_of(r),
                       r.key.arch, point_text(r.point), r.us, r.default_us, gain_text(r),
                       r.key.shape, r.measured ? "" : "  (ranked, not measured)",
                       today.stale(r) ? "  (stale: another compiler)" : "");
        fmt::print("{} results\n", records.size());
        return 0;
    };
}

CommandBody tune_show(CLI::App& app) {
    auto id = std::make_shared<std::string>();
    app.add_option("ID", *id, "of `hetune tune ls`; its beginning will do")->required();
    app.footer("Example:\n  hetune tune show 3f9a");
    return [id, json = json_flag(app)] {
        const CacheFolder folder(cache_options());
        const auto records = records_of(folder, {});
        const TuningRecord& r = find_record(records, *id);
        Today today;
        if (*json) {
            Json one = to_json(r);
            one["id"] = r.key.hash().hex();
            one["stale"] = today.stale(r);
            fmt::print("{}\n", json_text(one));
            return 0;
        }
        fmt::print("{}\n{} on {}, {} by {}{}\n", r.key.shape, r.key.arch,
                   r.key.device.empty() ? "no device" : r.key.device,
                   r.measured ? "measured" : "ranked by the model", r.key.compiler,
                   today.stale(r) ? " (stale: today's is another)" : "");
        fmt::print("chosen {}: {:.2f} us +- {:.2f}; default {}: {:.2f} us ({})\n",
                   point_text(r.point), r.us, r.noise_us, point_text(r.default_point), r.default_us,
                   gain_text(r));
        fmt::print("found {:%Y-%m-%d %H:%M} UTC", fmt::gmtime(static_cast<time_t>(r.created)));
        for (const auto& [name, value] : r.origin) fmt::print(", {} {}", name, value);
        fmt::print("; {} slower results merged\n\n{:<22} {:<8} {:>10} {:>8} {:>4} {:>10} {:>6}\n",
                   r.also.size(), "point", "state", "us", "+-", "n", "model us", "VGPRs");
        for (const TuningTrial& t : r.trials)
            fmt::print("{:<22} {:<8} {:>10.2f} {:>8.2f} {:>4} {:>10.2f} {:>6}{}\n",
                       point_text(t.point), t.state, t.us, t.noise_us, t.samples, t.model_us,
                       t.vgprs < 0 ? "-" : std::to_string(t.vgprs),
                       t.why.empty() ? "" : "  " + t.why);
        return 0;
    };
}

std::vector<TuningRecord> read_export(const std::string& path) try {
    const std::string text = read_file(path);
    std::vector<TuningRecord> records;
    if (text.starts_with("HTBUNDLE")) {
        const Bundle bundle(path, cache_options().trust);
        for (const BundleMember& member : bundle.members())
            if (member.is_tuning()) records.push_back(decode_tuning(bundle.read(member)));
        return records;
    }
    const Json json = parse_json(text);
    if (!json.contains("tunings") || !json["tunings"].is_array())
        throw CacheError("it is neither an export of `hetune tune export` nor a bundle");
    // The versions of the results come first: the export of an older hetune has no checksum.
    for (const auto& one : json["tunings"]) records.push_back(record_from_json(one));
    open_sealed_json(text);
    return records;
} catch (const OtherFormat& error) {
    throw std::runtime_error(
        fmt::format("{}: a tuning result in it cannot be read: {}; {}", path, error.what(),
                    error.is_older() ? "make it again: `hetune autotune`, then `hetune tune export`"
                                     : "a newer hetune made it"));
} catch (const CacheError& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
}

CommandBody tune_diff(CLI::App& app) {
    auto path = std::make_shared<std::string>();
    auto filter = std::make_shared<Filter>();
    app.add_option("OTHER", *path, "an export or a bundle; the cache is compared with it")
        ->required();
    filter->add_to(app);
    app.footer("Example:\n  hetune tune diff other-box.json");
    return [path, filter, json = json_flag(app)] {
        const CacheFolder folder(cache_options());
        // Boxes are compared by shape: device and compiler may be what differs.
        std::map<std::pair<std::string, std::string>,
                 std::pair<const TuningRecord*, const TuningRecord*>>
            shapes;
        const auto here = records_of(folder, *filter);
        auto there = read_export(*path);
        std::erase_if(there, [&](const TuningRecord& r) { return !filter->takes(r); });
        for (const TuningRecord& r : here) shapes[{r.key.arch, r.key.shape}].first = &r;
        for (const TuningRecord& r : there) shapes[{r.key.arch, r.key.shape}].second = &r;
        Json list = Json::array();
        for (const auto& [key, pair] : shapes) {
            const auto& [a, b] = pair;
            if (a != nullptr && b != nullptr && a->point == b->point) continue;
            Json one = {{"arch", key.first}, {"shape", key.second}};
            if (a != nullptr)
                one["here"] = {{"point", a->point}, {"us", a->us}, {"device", a->key.device}};
            if (b != nullptr)
                one["there"] = {{"point", b->point}, {"us", b->us}, {"device", b->key.device}};
            list.push_back(std::move(one));
            if (*json) continue;
            const auto text = [](const TuningRecord* r) {
                return r == nullptr ? std::string("none")
                                    : fmt::format("{} ({:.2f} us)", point_text(r->point), r->us);
            };
            fmt::print("{} {}\n  here {}, there {}\n", key.first, key.second, text(a), text(b));
        }
        if (*json)
            fmt::print("{}\n", json_text(list));
        else
            fmt::print("{} shapes differ\n", list.size());
        return 0;
    };
}

CommandBody tune_reset(CLI::App& app) {
    auto filter = std::make_shared<Filter>();
    auto yes = std::make_shared<bool>(false);
    filter->add_to(app);
    app.add_flag("--yes", *yes, "really do it");
    app.footer("Example:\n  hetune tune reset --kernel gemv --yes");
    return [filter, yes, json = json_flag(app)] {
        const CacheFolder folder(cache_options());
        if (folder.writable().empty())
            throw CacheError("there is no writable cache folder to reset");
        std::vector<TuningKey> keys;
        for (const TuningRecord& r : records_of(folder, *filter)) keys.push_back(r.key);
        if (!*yes) throw CacheError(fmt::format("this forgets {} results; say --yes", keys.size()));
        const int removed = TuningStore(folder).remove(keys);
        if (*json)
            fmt::print("{}\n", json_text({{"removed", removed}}));
        else
            fmt::print("{} results removed\n", removed);
        return 0;
    };
}

CommandBody tune_export(CLI::App& app) {
    auto path = std::make_shared<std::string>();
    auto filter = std::make_shared<Filter>();
    app.add_option("-o,--output", *path, "the file to write; default: standard output")
        ->check(not_empty());
    filter->add_to(app);
    app.footer("Example:\n  hetune tune export -o tunings.json --arch gfx1100");
    return [path, filter, json = json_flag(app)] {
        const CacheFolder folder(cache_options());
        Json out = {{"tunings", Json::array()}};
        for (const TuningRecord& r : records_of(folder, *filter))
            out["tunings"].push_back(to_json(r));
        const std::string text = sealed_json(out, 1) + "\n";
        if (path->empty()) {
            fmt::print("{}", text);
            return 0;
        }
        OutputFile file(*path);
        file.write(text);
        file.commit();
        if (*json)
            fmt::print("{}\n", json_text({{"exported", out["tunings"].size()}}));
        else
            fmt::print("{}: {} results\n", *path, out["tunings"].size());
        return 0;
    };
}

CommandBody tune_import(CLI::App& app) {
    auto paths = std::make_shared<std::vector<std::string>>();
    app.add_option("FILE", *paths,
                   "exports or bundles; of two results with one key the better stays")
        ->required();
    app.footer("Example:\n  hetune tune import box1.json box2.json kernels.htb");
    return [paths, json = json_flag(app)] {
        const CacheFolder folder(cache_options());
        if (folder.writable().empty())
            throw CacheError("there is no writable cache folder to import into");
        TuningStore store(folder);
        size_t imported = 0;
        for (const std::string& path : *paths)
            for (TuningRecord& record : read_export(path)) {
                store.put(std::move(record));
                ++imported;
            }
        if (*json)
            fmt::print("{}\n", json_text({{"imported", imported}}));
        else
            fmt::print("{} results imported\n", imported);
        return 0;
    };
}

struct Subcommand {
    const char* name;
    const char* description;
    CommandBody (*setup)(CLI::App&);
};
constexpr Subcommand kTuneCommands[] = {
    {"ls", "Lists the results of autotune", tune_ls},
    {"show", "Everything about one result: all that was tried, and where it comes from", tune_show},
    {"diff", "Shapes for which another box found something else", tune_diff},
    {"reset", "Forgets results, so that plans take their defaults again", tune_reset},
    {"export", "Writes results as JSON", tune_export},
    {"import", "Merges results of other boxes", tune_import},
};

const RegisterCommand kTune{
    "tune", "Inspects, moves and resets what autotune found", [](CLI::App& app) {
        app.require_subcommand(1);
        app.footer(
            "Results lie in the cache, travel in its bundles (`hetune cache export`, `hetune "
            "prewarm -o`), and\n"
            "are used by every later plan; HETUNE_TUNE=off pins all plans to their defaults, "
            "HETUNE_TUNE=all\n"
            "also takes what was only ranked by the static model.\n\nExamples:\n  hetune tune ls\n"
            "  hetune tune export -o tunings.json");
        auto chosen = std::make_shared<CommandBody>();
        for (const Subcommand& command : kTuneCommands) {
            CLI::App* sub = app.add_subcommand(command.name, command.description);
            sub->callback([chosen, body = command.setup(*sub)] { *chosen = body; });
        }
        return [chosen] { return (*chosen)(); };
    }};

}  // namespace
}  // namespace hetune
