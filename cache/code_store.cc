#include "cache/code_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <system_error>

#include "cache/maintenance.h"
#include "cache/object_file.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr size_t kUsesPerFlush = 4096;
constexpr std::chrono::milliseconds kWait{1000};
constexpr std::chrono::milliseconds kAskAgain{100};  // whether the wait is to end

// The parts of a key with the name of the compiler in the place of its identity, which is "NAME
// BUILD...".
std::string without_build(KeyParts parts) {
    std::string& compiler = parts["compiler"];
    compiler.resize(std::min(compiler.find(' '), compiler.size()));
    std::string text;
    for (const auto& [name, value] : parts) text += fmt::format("{}={}\n", name, value);
    return text;
}

}  // namespace

CodeStore::CodeStore(const CacheOptions& options)
    : patience_(options.patience),
      max_bytes_(options.max_bytes),
      folder_(options),
      bundles_(open_bundles(folder_, options.trust)),
      remote_(RemoteCache::open(options.remote, options.trust,
                                [this](const std::string& kind, const std::string& text) {
                                    folder_.warn_once(kind, text);
                                })) {
    for (const auto& layer : options.layers) places_.emplace_back("layer " + layer.string());
    for (const char* name : {"folder", "memory", "remote"}) places_.emplace_back(name);
    counted_ = statistics();
    const std::filesystem::path& folder = folder_.writable();
    if (!folder.empty()) sweep_temp_files(folder / "tmp", folder_.local_disk());
    try {
        if (!folder.empty() && (folder_.local_disk() || folder_.has_index()))
            claims_ = std::make_unique<Claims>(folder, folder_.local_disk());
    } catch (const DatabaseError& error) {
        folder_.warn_once("claims", fmt::format("processes may compile twice: {}", error.what()));
    }
    if (!claims_) claims_ = std::make_unique<Claims>(std::filesystem::path(), true);
}

CodeStore::~CodeStore() { flush(); }

std::optional<CodeObject> CodeStore::find_here(const CacheKey& key) {
    auto found = load(key);
    return found ? std::optional(count_hit(*std::move(found))) : std::nullopt;
}

std::optional<CodeObject> CodeStore::find(const CacheKey& key) {
    auto found = load(key);
    if (!found) found = fetch(key);
    if (!found) {
        count_miss(key);
        return std::nullopt;
    }
    return count_hit(*std::move(found));
}

std::vector<CodeStore::MadeBy> CodeStore::compilers(const std::string& arch) const {
    std::map<std::pair<std::string, std::string>, int64_t> newest;
    auto take = [&](const KeyParts& parts, int64_t created) {
        const auto of = parts.find("arch"), compiler = parts.find("compiler"),
                   options = parts.find("options");
        if (of == parts.end() || compiler == parts.end() || options == parts.end()) return;
        if (of->second != arch) return;
        int64_t& at = newest[{compiler->second, options->second}];
        at = std::max(at, created);
    };
    auto take_folder = [&](const std::filesystem::path& folder) {
        each_object_file(folder, [&](const CacheKey&, const std::filesystem::path& path) {
            if (const auto row = read_object_row(path)) take(row->parts, row->created);
        });
    };
    for (size_t i = 0; i < folder_.layers().size(); ++i) {
        if (folder_.layers()[i].empty()) continue;
        if (!bundles_[i]) {
            take_folder(folder_.layers()[i]);
            continue;
        }
        for (const BundleMember& member : bundles_[i]->members()) try {
                if (!member.is_object()) continue;
                if (const auto info = decode_object_info(bundles_[i]->read(member)))
                    take(info->parts, 0);
            } catch (const CacheError&) {  // find() says that it is damaged
            }
    }
    if (!folder_.readable().empty()) take_folder(folder_.readable());
    std::vector<MadeBy> list;
    for (const auto& [made_by, created] : newest)
        list.push_back({made_by.first, made_by.second, created});
    std::ranges::stable_sort(list, std::ranges::greater{}, &MadeBy::created);
    return list;
}

std::optional<CodeStore::OtherBuild> CodeStore::find_other_build(const KeyParts& parts) {
    if (!parts.contains("compiler")) return std::nullopt;
    std::call_once(builds_once_, [&] { read_builds(); });
    const auto found = builds_.find(without_build(parts));
    if (found == builds_.end() || found->second.compiler == parts.at("compiler"))
        return std::nullopt;
    return found->second;
}

void CodeStore::read_builds() {
    const auto add = [&](const ObjectInfo& info, const std::string& place, bool signed_by_us) {
        const auto compiler = info.parts.find("compiler");
        if (compiler == info.parts.end()) return;
        const OtherBuild build{info.key, compiler->second, place, signed_by_us};
        const auto [at, fresh] = builds_.try_emplace(without_build(info.parts), build);
        if (!fresh && signed_by_us && !at->second.signed_by_us) at->second = build;
    };
    for (size_t i = 0; i < folder_.layers().size(); ++i) {
        const auto each = [&](const ObjectInfo& info) {
            const bool trusted = bundles_[i] && bundles_[i]->signer() && folder_.trust().required;
            add(info, places_[i].name, trusted);
        };
        if (bundles_[i])
            each_object(*bundles_[i], each);
        else if (!folder_.layers()[i].empty())
            each_object(folder_.layers()[i], each);
    }
    if (!folder_.readable().empty())
        each_object(folder_.readable(), [&](const ObjectInfo& info) {
            add(info, places_[folder_place()].name, false);
        });
}

CodeObject CodeStore::get_or_make(const CacheKey& key, const KeyParts& parts,
                                  const std::function<CodeObject()>& make,
                                  const std::function<void()>& waiting) {
    Patience patience(patience_);
    for (;;) {
        if (auto found = load(key)) return count_hit(*std::move(found));
        const std::optional<Claim> claim = claims_->claim(key);
        if (!claim && !patience.ended()) {
            if (waiting) waiting();
            claims_->wait(key, waiting ? kAskAgain : kWait);
            const int64_t owner = claims_->owner(key);
            if (owner == getpid()) patience.progress();  // a thread of ours has its own time limit
            if (owner != 0 && patience.says()) say_waiting(owner, parts);
            continue;
        }
        // The one before us may have finished between our look and our claim.
        if (auto found = load(key)) return count_hit(*std::move(found));
        if (auto found = fetch(key)) return count_hit(*std::move(found));
        count_miss(key);
        CodeObject code = make();
        put(key, code, parts);
        return code;
    }
}

void CodeStore::say_waiting(int64_t owner, const KeyParts& parts) {
    const auto name = parts.find("template");
    folder_.warn_once(
        fmt::format("waiting for {}", owner),
        fmt::format("waiting for process {}, which is compiling {}; {} s after the start of the "
                    "wait it is compiled here as well",
                    owner, name == parts.end() ? "the same" : name->second,
                    std::chrono::ceil<std::chrono::seconds>(patience_.all).count()));
}

CodeObject CodeStore::count_hit(Found found) {
    ++places_[found.place].hits;
    places_[found.place].saved_us += static_cast<int64_t>(found.code.compile_ms * 1000);
    return std::move(found.code);
}

void CodeStore::count_miss(const CacheKey& key) {
    const std::scoped_lock lock(missed_mutex_);
    missed_.insert(key);
}

void CodeStore::put(const CacheKey& key, const CodeObject& code, const KeyParts& parts) {
    const auto file = encode_object(key, code, parts);
    keep(key, code, parts, file);
    if (remote_) remote_->store(key, file);
}

void CodeStore::keep(const CacheKey& key, const CodeObject& code, const KeyParts& parts,
                     std::span<const std::byte> file) {
    if (!folder_.writable().empty() && store_file(key, code, parts, file)) return;
    const std::unique_lock lock(memory_mutex_);
    memory_.insert_or_assign(key, code);
}

std::optional<CodeStore::Found> CodeStore::load(const CacheKey& key) {
    for (size_t i = 0; i < folder_.layers().size(); ++i)
        if (auto code = load_layer(i, key)) return Found{*std::move(code), i};
    if (!folder_.readable().empty()) {
        if (auto code = load_file(folder_.readable(), key)) {
            if (!folder_.writable().empty()) remember_use(key);
            return Found{*std::move(code), folder_place()};
        }
    }
    const std::shared_lock lock(memory_mutex_);
    const auto found = memory_.find(key);
    if (found == memory_.end()) return std::nullopt;
    return Found{found->second, memory_place()};
}

std::optional<CodeStore::Found> CodeStore::fetch(const CacheKey& key) {
    if (!remote_) return std::nullopt;
    auto fetched = remote_->fetch(key);
    if (!fetched) return std::nullopt;
    const auto info = decode_object_info(fetched->file);
    keep(key, fetched->code, info ? info->parts : KeyParts(), fetched->file);
    return Found{std::move(fetched->code), remote_place()};
}

std::optional<CodeObject> CodeStore::load_layer(size_t layer, const CacheKey& key) {
    if (folder_.layers()[layer].empty()) return std::nullopt;
    if (!bundles_[layer]) return load_file(folder_.layers()[layer], key);
    try {
        return bundles_[layer]->find(key);
    } catch (const CacheError& error) {
        ++damaged_;
        folder_.warn_once("damaged", error.what());
        return std::nullopt;
    }
}

std::optional<CodeObject> CodeStore::load_file(const std::filesystem::path& folder,
                                               const CacheKey& key) {
    const std::filesystem::path path = object_path(folder, key);
    const auto bytes = read_file(path, kMaxObjectBytes);
    if (!bytes) return std::nullopt;
    auto code = decode_object(*bytes, key);
    if (code) return code;

    ++damaged_;
    if (folder == folder_.writable()) {
        unlink(path.c_str());
        folder_.with_index([&](Index& index) { index.remove(key); });
        folder_.warn_once(
            "damaged",
            fmt::format("{} was damaged and is removed; it is compiled again", path.string()));
    } else {
        folder_.warn_once("damaged", fmt::format("{} is damaged and ignored", path.string()));
    }
    return std::nullopt;
}

bool CodeStore::store_file(const CacheKey& key, const CodeObject& code, const KeyParts& parts,
                           std::span<const std::byte> file) try {
    if (file.size() > kMaxObjectBytes) return false;
    TempFile temp(folder_.writable() / "tmp");
    temp.write(file);
    temp.commit(object_path(folder_.writable(), key));
    ++stored_;
    folder_.with_index([&](Index& index) {
        index.add({key, code.entry, code.compile_ms, parts, file.size()}, std::time(nullptr));
    });
    keep_within_limit();
    return true;
} catch (const std::exception& error) {
    folder_.warn_failed("write", "a kernel is kept in memory only", error);
    return false;
}

void CodeStore::keep_within_limit() {
    uint64_t bytes = 0;
    folder_.with_index([&](Index& index) { bytes = index.object_bytes(); });
    if (bytes <= max_bytes_) return;
    if (!flush()) return;  // what was used since the last flush would look old
    evict_objects(folder_, max_bytes_ / 10 * 9);  // some air, so that not every put evicts
}

void CodeStore::remember_use(const CacheKey& key) {
    bool full = false;
    {
        const std::scoped_lock lock(uses_mutex_);
        uses_[key.hex()] = std::time(nullptr);
        full = uses_.size() >= kUsesPerFlush;
    }
    if (full) flush();
}

bool CodeStore::flush() {
    std::unordered_map<std::string, int64_t> uses;
    {
        const std::scoped_lock lock(uses_mutex_);
        uses.swap(uses_);
    }
    const bool done = folder_.with_index([&](Index& index) {
        if (!uses.empty()) index.touch(uses);
        const CacheStatistics now = statistics();
        const auto since = [](auto now, auto before) { return static_cast<double>(now - before); };
        std::unordered_map<std::string, double> increments = {
            {"hits", since(now.hits, counted_.hits)},
            {"misses", since(now.misses, counted_.misses)},
            {"stored", since(now.stored, counted_.stored)},
            {"damaged", since(now.damaged, counted_.damaged)},
            {"saved_ms", since(now.saved_ms, counted_.saved_ms)}};
        for (size_t i = 0; i < now.places.size(); ++i) {
            const std::string& name = now.places[i].name;
            increments["hits " + name] += since(now.places[i].hits, counted_.places[i].hits);
            increments["saved_ms " + name] +=
                since(now.places[i].saved_ms, counted_.places[i].saved_ms);
        }
        index.count(increments);
        counted_ = now;
    });
    if (done) return true;
    if (!folder_.has_index()) return false;
    const std::scoped_lock lock(uses_mutex_);
    uses_.merge(uses);  // the index is busy: the next flush takes them, unless they are used again
    return false;
}

bool CodeStore::wants_recipes() const {
    if (folder_.writable().empty()) return false;
    const CacheStatistics now = statistics();
    uint64_t from_layers = 0;
    for (size_t i = 0; i < folder_place(); ++i) from_layers += now.places[i].hits;
    return now.misses > 0 || now.hits > from_layers;
}

void CodeStore::record(const Recipe& recipe) try {
    if (folder_.writable().empty()) return;
    if (record_recipe(folder_.writable(), recipe) == Recorded::kReplaced)
        folder_.warn_once("damaged recipe",
                          fmt::format("{} was damaged and is recorded again",
                                      (folder_.writable() / "recipes" / recipe.id()).string()));
} catch (const std::exception& error) {
    folder_.warn_failed("recipe", "a recipe is not recorded", error);
}

CacheStatistics CodeStore::statistics() const {
    uint64_t missed = 0;
    {
        const std::scoped_lock lock(missed_mutex_);
        missed = missed_.size();
    }
    CacheStatistics statistics{.misses = missed, .stored = stored_, .damaged = damaged_};
    for (const Place& place : places_) {
        statistics.places.push_back(
            {place.name, place.hits, static_cast<double>(place.saved_us) / 1000});
        statistics.hits += statistics.places.back().hits;
        statistics.saved_ms += statistics.places.back().saved_ms;
    }
    return statistics;
}

}  // namespace hetune
