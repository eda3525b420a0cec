#include "cache/tuning_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr uint64_t kMaxTuningBytes = 4 << 20;

}  // namespace

std::string tuning_name(const CacheKey& key) { return fmt::format("tunings/{}.json", key.hex()); }

std::string encode_tuning(const TuningRecord& record) { return to_json(record).dump(1) + "\n"; }

TuningRecord decode_tuning(std::span<const std::byte> file) {
    const auto* text = reinterpret_cast<const char*>(file.data());
    const auto json = nlohmann::json::parse(text, text + file.size(), nullptr, false);
    if (json.is_discarded()) throw CacheError("a tuning result that is no JSON");
    return record_from_json(json);
}

void TuningStore::read_folder(const std::filesystem::path& folder,
                              std::vector<TuningRecord>& into) const {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder / "tunings", error)) {
        if (entry.path().extension() != ".json") continue;
        const auto file = read_file(entry.path(), kMaxTuningBytes);
        if (!file) continue;
        try {
            TuningRecord record = decode_tuning(*file);
            // A file under another key's name would be found under the wrong one.
            if (record.key.hash().hex() != entry.path().stem().string())
                throw CacheError("a tuning result under the name of another");
            into.push_back(std::move(record));
        } catch (const CacheError& problem) {
            folder_.warn_once(
                "tuning", fmt::format("{} is left out: {}", entry.path().string(), problem.what()));
        }
    }
}

void TuningStore::read_bundle(const std::filesystem::path& path,
                              std::vector<TuningRecord>& into) const {
    try {
        const Bundle bundle(path);
        for (const BundleMember& member : bundle.members())
            if (member.is_tuning()) into.push_back(decode_tuning(bundle.read(member)));
    } catch (const CacheError& problem) {
        folder_.warn_once("tuning", problem.what());
    }
}

std::vector<TuningRecord> TuningStore::all(std::string_view arch) const {
    std::vector<TuningRecord> found;
    for (const auto& layer : folder_.layers()) {
        if (layer.empty()) continue;
        if (std::filesystem::is_directory(layer))
            read_folder(layer, found);
        else
            read_bundle(layer, found);
    }
    if (!folder_.readable().empty()) read_folder(folder_.readable(), found);
    std::erase_if(found,
                  [&](const TuningRecord& r) { return !arch.empty() && r.key.arch != arch; });
    std::ranges::stable_sort(found, {}, &TuningRecord::key);
    std::vector<TuningRecord> merged;
    for (TuningRecord& record : found) {
        if (!merged.empty() && merged.back().key == record.key)
            merged.back() = merge(std::move(merged.back()), std::move(record));
        else
            merged.push_back(std::move(record));
    }
    return merged;
}

bool TuningStore::put(TuningRecord record, bool replace) {
    if (folder_.writable().empty()) return false;
    const std::filesystem::path target = folder_.writable() / tuning_name(record.key.hash());
    if (!replace)
        if (const auto file = read_file(target, kMaxTuningBytes)) try {
                const TuningRecord present = decode_tuning(*file);
                record = merge(present, std::move(record));
            } catch (const CacheError&) {
                // Damaged: replaced.
            }
    const std::string text = encode_tuning(record);
    TempFile file(folder_.writable() / "tmp");
    file.write(std::as_bytes(std::span(text)));
    file.commit(target);
    return true;
}

int TuningStore::remove(const std::vector<TuningKey>& keys) {
    int removed = 0;
    if (folder_.writable().empty()) return removed;
    for (const TuningKey& key : keys) {
        std::error_code ignored;
        removed += std::filesystem::remove(folder_.writable() / tuning_name(key.hash()), ignored);
    }
    return removed;
}

}  // namespace hetune
