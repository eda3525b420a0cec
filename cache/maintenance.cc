#include "cache/maintenance.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <unordered_map>
#include <unordered_set>

#include "cache/facts.h"
#include "cache/object_file.h"
#include "cache/recipe.h"
#include "cache/tile_store.h"
#include "cache/tuning_store.h"

namespace hetune {
namespace {

constexpr int kRowsPerStep = 256;  // removed under one transaction

enum class Verdict { kGood, kGone, kUnreadable, kDamaged, kOlder };

bool is_gone(const std::filesystem::path& path) {
    struct stat info;
    return lstat(path.c_str(), &info) != 0 && errno == ENOENT;
}

Verdict judge_object(const CacheKey& key, const std::filesystem::path& path) {
    const auto bytes = read_file(path, kMaxObjectBytes);
    if (bytes) {
        if (!decode_object(*bytes, key)) return Verdict::kDamaged;
        const auto info = decode_object_info(*bytes);
        return info && is_former_fact(info->parts) ? Verdict::kOlder : Verdict::kGood;
    }
    if (is_gone(path)) return Verdict::kGone;  // evicted just now
    return access(path.c_str(), R_OK) == 0 ? Verdict::kDamaged : Verdict::kUnreadable;
}

void note_damage(const std::filesystem::path& path, bool repair, VerifyReport& report) {
    report.damaged.push_back(path.string());
    if (repair) unlink(path.c_str());
}

void note(const LeftOut& left_out, bool repair, VerifyReport& report) {
    for (const auto& path : left_out.damaged)
        if (!is_gone(path)) note_damage(path, repair, report);
    for (const auto& path : left_out.older) report.older.push_back(path.string());
    for (const auto& path : left_out.newer) report.strange.push_back(path.string());
}

void verify_objects(CacheFolder& folder, bool repair, VerifyReport& report,
                    std::unordered_set<std::string>& good) {
    for (const auto& shelf : list_folder(folder.readable() / "objects"))
        for (const auto& path : list_folder(shelf)) {
            const auto key = CacheKey::from_hex(path.filename().string());
            if (!key || object_path(folder.readable(), *key) != path) {
                report.strange.push_back(path.string());
                continue;
            }
            const Verdict verdict = judge_object(*key, path);
            if (verdict == Verdict::kGood) {
                ++report.objects;
                good.insert(key->hex());
            } else if (verdict == Verdict::kOlder) {
                report.older.push_back(path.string());
                good.insert(key->hex());
            } else if (verdict == Verdict::kUnreadable) {
                report.unreadable.push_back(path.string());
            } else if (verdict == Verdict::kDamaged) {
                note_damage(path, repair, report);
            }
        }
}

void verify_packs(CacheFolder& folder, bool repair, VerifyReport& report) {
    for (const TilePackFile& file : list_tile_packs(folder.readable())) {
        if (file.partial) continue;
        const auto [state, pack] = TilePack::open(file.path);
        if (pack && pack->verify_all())
            ++report.packs;
        else if (state == TilePack::State::kOlder)
            report.older.push_back(file.path.string());
        else if (state == TilePack::State::kNewer)
            report.strange.push_back(file.path.string());
        else if (state == TilePack::State::kUnreadable)
            report.unreadable.push_back(file.path.string());
        else if (state != TilePack::State::kAbsent)  // evicted just now
            note_damage(file.path, repair, report);
    }
}

void verify_texts(CacheFolder& folder, bool repair, VerifyReport& report) {
    LeftOut left_out;
    report.recipes = list_recipes(folder.readable(), &left_out).size();
    report.tunings = list_tunings(folder.readable(), &left_out).size();
    note(left_out, repair, report);
}

void verify_facts(CacheFolder& folder, bool repair, VerifyReport& report) {
    LeftOut left_out;
    for (const auto& path : fact_files(folder.readable())) {
        if (!is_fact_name(path.lexically_relative(folder.readable()).string())) {
            report.strange.push_back(path.string());
            continue;
        }
        try {
            load_fact(path);
            ++report.facts;
        } catch (const CacheError& problem) {
            left_out.add(path, problem);
        }
    }
    note(left_out, repair, report);
}

// Files and rows are read one after the other, and others write meanwhile: what seems to be amiss
// is looked at again before the index is changed.
void verify_index(CacheFolder& folder, VerifyReport& report,
                  const std::unordered_set<std::string>& good) {
    const bool sound = folder.with_index([&](Index& index) {
        report.index_problem = index.integrity_problem();
        std::unordered_set<std::string> rows;
        for (const ObjectRow& row : index.objects()) {
            const std::string name = row.key.hex();
            rows.insert(name);
            const auto path = object_path(folder.readable(), row.key);
            if (good.contains(name) || !is_gone(path)) continue;
            ++report.rows_without_file;
            index.remove(row.key);
        }
        std::unordered_map<std::string, int64_t> unknown;
        for (const std::string& name : good)
            if (!rows.contains(name)) unknown.emplace(name, std::time(nullptr));
        report.files_without_row = unknown.size();
        index.touch(unknown);
    });
    if (!sound && report.index_problem.empty()) report.index_problem = "cannot be read";
}

}  // namespace

std::vector<ObjectRow> list_objects(CacheFolder& folder) {
    std::vector<ObjectRow> rows;
    if (folder.with_index([&](Index& index) { rows = index.objects(); })) return rows;
    each_object_file(folder.readable(), [&](const CacheKey& key, const auto& path) {
        auto row = read_object_row(path);
        if (row && row->key == key) rows.push_back(*std::move(row));
    });
    std::ranges::stable_sort(rows, {}, &ObjectRow::created);
    return rows;
}

ObjectTotal total_objects(CacheFolder& folder) {
    ObjectTotal total;
    const auto from_index = [&](Index& index) {
        total = {index.object_count(), index.object_bytes()};
    };
    if (folder.with_index(from_index)) return total;
    for (const ObjectRow& row : list_objects(folder)) {
        ++total.objects;
        total.bytes += row.bytes;
    }
    return total;
}

Removed evict_objects(CacheFolder& folder, uint64_t max_bytes,
                      std::optional<int64_t> max_age_seconds) {
    Removed removed;
    if (!folder.writable().empty()) drop_oldest_facts(folder.writable(), kMaxFacts);
    const int64_t oldest = max_age_seconds ? std::time(nullptr) - *max_age_seconds : INT64_MIN;
    folder.with_index([&](Index& index) {
        for (;;) {
            const uint64_t total = index.object_bytes();
            uint64_t left = total;
            std::vector<CacheKey> keys;
            for (const ObjectUse& object : index.longest_unused(kRowsPerStep)) {
                if (left <= max_bytes && object.used >= oldest) break;
                keys.push_back(object.key);
                left -= object.bytes;
            }
            if (keys.empty()) return;
            // The file first: a row without a file is found and removed later, the other way round
            // the file would be forgotten.
            for (const CacheKey& key : keys) unlink(object_path(folder.writable(), key).c_str());
            index.remove(keys);
            removed.objects += keys.size();
            removed.object_bytes += total - left;
        }
    });
    return removed;
}

Removed remove_older(CacheFolder& folder) {
    Removed removed;
    if (folder.writable().empty()) return removed;
    std::vector<CacheKey> facts;
    each_object_file(folder.writable(), [&](const CacheKey& key, const auto& path) {
        const auto row = read_object_row(path);
        if (!row || !is_former_fact(row->parts) || unlink(path.c_str()) != 0) return;
        facts.push_back(key);
        ++removed.objects;
        removed.object_bytes += row->bytes;
    });
    folder.with_index([&](Index& index) { index.remove(facts); });
    for (const TilePackFile& file : list_tile_packs(folder.writable()))
        if (!file.partial && TilePack::open(file.path).state == TilePack::State::kOlder &&
            unlink(file.path.c_str()) == 0)
            removed.pack_bytes += file.bytes;
    LeftOut left_out;
    list_recipes(folder.writable(), &left_out);
    list_tunings(folder.writable(), &left_out);
    for (const auto& path : left_out.older) removed.texts += unlink(path.c_str()) == 0 ? 1 : 0;
    return removed;
}

VerifyReport verify_cache(CacheFolder& folder, bool repair) {
    VerifyReport report;
    repair = repair && !folder.writable().empty();
    std::unordered_set<std::string> good;
    verify_objects(folder, repair, report, good);
    verify_packs(folder, repair, report);
    verify_texts(folder, repair, report);
    verify_facts(folder, repair, report);
    if (!folder.writable().empty()) verify_index(folder, report, good);
    if (repair && !report.index_problem.empty()) Index::mark_damaged(folder.writable());
    return report;
}

Removed clear_cache(CacheFolder& folder) {
    Removed removed;
    if (folder.writable().empty()) return removed;
    each_object_file(folder.writable(), [&](const CacheKey&, const std::filesystem::path& path) {
        std::error_code error;
        const uint64_t bytes = std::filesystem::file_size(path, error);
        if (error || unlink(path.c_str()) != 0) return;
        ++removed.objects;
        removed.object_bytes += bytes;
    });
    folder.with_index([](Index& index) { index.remove_all_objects(); });
    for (const auto& path : fact_files(folder.writable())) unlink(path.c_str());
    for (const TilePackFile& pack : list_tile_packs(folder.writable()))
        if (unlink(pack.path.c_str()) == 0) removed.pack_bytes += pack.bytes;
    for (const auto& path : list_folder(folder.writable() / "recipes")) unlink(path.c_str());
    sweep_temp_files(folder.writable() / "tmp", folder.local_disk());
    return removed;
}

}  // namespace hetune
