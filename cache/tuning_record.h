// What `hetune autotune` found for one kernel on one device, and all it tried. A plain value with a
// JSON form: in a cache folder, in a bundle and in `hetune tune export` it is the same text.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cache/key.h"

namespace hetune {

// 1 had no checksum.
constexpr int kTuningVersion = 2;

using NamedValues = std::map<std::string, std::string>;

struct TuningKey {
    std::string kernel;  // the template; "plan": a choice between variants
    std::string shape;   // "gemv(Quant=Q4_K, kCols=4096, kRows=4096) x1"
    std::string arch;
    std::string device;    // its name; empty: ranked by the static model, nothing was timed
    std::string compiler;  // its identity

    auto operator<=>(const TuningKey&) const = default;
    CacheKey hash() const;  // names the file
};

// One point of the space.
struct TuningTrial {
    NamedValues point;
    std::string state;    // "timed", "ranked", "pruned", "refused" (by a gate), "wrong" or "failed"
    std::string why;      // of all but the first two
    double us = 0;        // median
    double noise_us = 0;  // standard error of that median
    int samples = 0;
    double model_us = 0;    // by the cost model
    double compile_ms = 0;  // 0: it was in the cache
    int vgprs = -1, lds_bytes = -1;

    bool operator==(const TuningTrial&) const = default;
};

struct TuningRecord {
    TuningKey key;
    NamedValues point, default_point;
    double us = 0, default_us = 0, noise_us = 0;
    bool measured = false;
    int64_t context = 0;  // tokens, of attention
    std::vector<TuningTrial> trials;
    // Where it comes from: "box" (a hash of the host's name), "driver", "hetune", "strategy".
    NamedValues origin;
    std::vector<NamedValues> also;  // origins of slower results for the same key
    int64_t created = 0;            // Unix seconds

    bool operator==(const TuningRecord&) const = default;
};

nlohmann::ordered_json to_json(const TuningTrial& trial);
nlohmann::ordered_json to_json(const TuningRecord& record);
// Throw CacheError for what is none; OtherFormat for a result of another version.
TuningTrial trial_from_json(const nlohmann::ordered_json& json);
TuningRecord record_from_json(const nlohmann::ordered_json& json);

// Of two results with one key the better: measured before ranked, then the faster, then the newer.
// It keeps the other's origin.
TuningRecord merge(TuningRecord a, TuningRecord b);

}  // namespace hetune
