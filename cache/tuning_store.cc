#include "cache/tuning_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cache/json_text.h"
#include "cache/temp_file.h"

namespace hetune {
namespace {

constexpr uint64_t kMaxTuningBytes = 4 << 20;
constexpr std::chrono::seconds kLockPatience{5};

TuningRecord read_tuning(const std::filesystem::path& path) {
    const auto file = read_file(path, kMaxTuningBytes);
    if (!file) throw CacheError("it cannot be read");
    TuningRecord record = decode_tuning(*file);
    // A file under another key's name would be found under the wrong one.
    if (record.key.hash().hex() != path.stem().string())
        throw CacheError("a tuning result under the name of another");
    return record;
}

const char* what_to_do(const CacheError& problem) {
    const auto* format = dynamic_cast<const OtherFormat*>(&problem);
    if (format == nullptr) return "";
    return format->is_older()
               ? "; `hetune autotune` measures anew, `hetune cache gc` removes what is older"
               : "; a newer hetune made it";
}

}  // namespace

std::string tuning_name(const CacheKey& key) { return fmt::format("tunings/{}.json", key.hex()); }

std::string encode_tuning(const TuningRecord& record) {
    return sealed_json(to_json(record), 1) + "\n";
}

TuningRecord decode_tuning(std::span<const std::byte> file) {
    return record_from_json(open_sealed_json(
        {reinterpret_cast<const char*>(file.data()), file.size()}, "version", kTuningVersion));
}

std::vector<TuningRecord> list_tunings(const std::filesystem::path& folder, LeftOut* left_out) {
    std::vector<TuningRecord> records;
    for (const auto& path : list_folder(folder / "tunings")) try {
            if (path.extension() == ".json") records.push_back(read_tuning(path));
        } catch (const CacheError& problem) {
            if (left_out != nullptr) left_out->add(path, problem);
        }
    return records;
}

void TuningStore::leave_out(const std::filesystem::path& path, const CacheError& problem) const {
    folder_.warn_once("tuning", fmt::format("{} is left out, and so is every tuning like it: {}{}",
                                            path.string(), problem.what(), what_to_do(problem)));
}

void TuningStore::read_folder(const std::filesystem::path& folder,
                              std::vector<TuningRecord>& into) const {
    for (const auto& path : list_folder(folder / "tunings")) try {
            if (path.extension() == ".json") into.push_back(read_tuning(path));
        } catch (const CacheError& problem) {
            leave_out(path, problem);
        }
}

// Between the reading and the writing of a result nobody else may write one. Empty where the file
// system has no locks, or where somebody holds the lock for seconds: then the last writer wins.
FileHandle TuningStore::lock() const {
    const auto path = folder_.writable() / "tunings.lock";
    FileHandle file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (file) lock_within(file, LOCK_EX, kLockPatience);
    return file;
}

void TuningStore::read_bundle(const std::filesystem::path& path,
                              std::vector<TuningRecord>& into) const {
    try {
        const Bundle bundle(path, folder_.trust());
        for (const BundleMember& member : bundle.members()) try {
                if (member.is_tuning()) into.push_back(decode_tuning(bundle.read(member)));
            } catch (const CacheError& problem) {
                leave_out(path / member.path, problem);
            }
    } catch (const CacheError& problem) {
        folder_.warn_once("tuning", problem.what());
    }
}

std::vector<TuningRecord> TuningStore::all(std::string_view arch) const {
    std::vector<TuningRecord> found;
    for (const auto& layer : folder_.layers()) {
        if (layer.empty()) continue;
        std::error_code none;
        if (std::filesystem::is_directory(layer, none))
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
    const FileHandle held = lock();
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
