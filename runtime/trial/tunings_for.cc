#include "runtime/trial/tunings_for.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

#include "cache/tuning_store.h"

namespace hetune {
namespace {

// Higher is better.
std::tuple<bool, bool, bool, double> rank(const TuningRecord& r, const std::string& device,
                                          const std::string& compiler) {
    const double gain = r.us > 0 ? r.default_us / r.us : 0;
    return {r.measured, r.key.device == device, r.key.compiler == compiler, gain};
}

}  // namespace

TuneUse tune_use(const std::string& text) {
    if (text == "off") return TuneUse::kOff;
    if (text.empty() || text == "measured") return TuneUse::kMeasured;
    if (text == "all") return TuneUse::kAll;
    throw std::runtime_error(fmt::format("HETUNE_TUNE='{}'; known: off, measured, all", text));
}

ChosenTunings tunings_for(std::span<const TuningRecord> records, const Arch& arch,
                          const std::string& device, const std::string& compiler, TuneUse use) {
    ChosenTunings chosen;
    if (use == TuneUse::kOff) return chosen;
    std::map<std::pair<std::string, std::string>, const TuningRecord*> best;
    for (const TuningRecord& record : records) {
        if (record.key.arch != arch.name || (!record.measured && use != TuneUse::kAll)) continue;
        const TuningRecord*& now = best[{record.key.kernel, record.key.shape}];
        if (now == nullptr || rank(record, device, compiler) > rank(*now, device, compiler))
            now = &record;
    }
    for (const auto& [shape, record] : best) {
        ++chosen.used;
        chosen.stale += record->key.compiler != compiler;
        chosen.other_device += record->measured && !device.empty() && record->key.device != device;
        // The default on record: nothing to change, but a result all the same.
        if (record->point == record->default_point) continue;
        if (record->key.kernel == kWholePlan) {
            auto& without = chosen.tunings.without[record->key.shape];
            for (const auto& [name, value] : record->point)
                if (value == "off") without.insert(name);
        } else {
            chosen.tunings.kernels[record->key.shape] = record->point;
        }
    }
    return chosen;
}

std::vector<TuningRecord> stored_records(const CacheOptions& cache, std::string_view arch) {
    CacheOptions readable = cache;
    readable.read_only = true;  // no index is needed
    std::error_code ignored;
    if (!std::filesystem::exists(readable.folder, ignored)) readable.folder.clear();
    const CacheFolder folder(readable);
    return TuningStore(folder).all(arch);
}

ChosenTunings stored_tunings(const CacheOptions& cache, const Arch& arch, const std::string& device,
                             const std::string& compiler, TuneUse use) {
    if (use == TuneUse::kOff) return {};
    return tunings_for(stored_records(cache, arch.name), arch, device, compiler, use);
}

std::vector<Tunings> all_tunings_for(std::span<const TuningRecord> records, const Arch& arch,
                                     const std::string& compiler, TuneUse use) {
    std::set<std::string> devices = {""};
    for (const TuningRecord& record : records)
        if (record.key.arch == arch.name) devices.insert(record.key.device);
    std::vector<Tunings> list = {{}};
    for (const std::string& device : devices) {
        Tunings tunings = tunings_for(records, arch, device, compiler, use).tunings;
        if (std::ranges::find(list, tunings) == list.end()) list.push_back(std::move(tunings));
    }
    return list;
}

}  // namespace hetune
