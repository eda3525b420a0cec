#include "cache/tuning_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

bool better(const TuningRecord& a, const TuningRecord& b) {
    if (a.measured != b.measured) return a.measured;
    if (a.us != b.us) return a.us < b.us;
    return a.created > b.created;
}

}  // namespace

CacheKey TuningKey::hash() const {
    const std::string text = kernel + '\n' + shape + '\n' + arch + '\n' + device + '\n' + compiler;
    return content_hash(text.data(), text.size());
}

Json to_json(const TuningTrial& t) {
    Json json = {{"point", t.point}, {"state", t.state}};
    if (!t.why.empty()) json["why"] = t.why;
    if (t.samples > 0) {
        json["us"] = t.us;
        json["noise_us"] = t.noise_us;
        json["samples"] = t.samples;
    }
    json["model_us"] = t.model_us;
    if (t.compile_ms > 0) json["compile_ms"] = t.compile_ms;
    if (t.vgprs >= 0) json["vgprs"] = t.vgprs;
    if (t.lds_bytes >= 0) json["lds_bytes"] = t.lds_bytes;
    return json;
}

Json to_json(const TuningRecord& r) {
    Json trials = Json::array();
    for (const TuningTrial& trial : r.trials) trials.push_back(to_json(trial));
    return {{"version", kTuningVersion},
            {"kernel", r.key.kernel},
            {"shape", r.key.shape},
            {"arch", r.key.arch},
            {"device", r.key.device},
            {"compiler", r.key.compiler},
            {"point", r.point},
            {"default_point", r.default_point},
            {"us", r.us},
            {"default_us", r.default_us},
            {"noise_us", r.noise_us},
            {"measured", r.measured},
            {"context", r.context},
            {"created", r.created},
            {"origin", r.origin},
            {"also", r.also},
            {"trials", std::move(trials)}};
}

TuningTrial trial_from_json(const Json& json) {
    return {.point = json_value<NamedValues>(json, "point"),
            .state = json_value<std::string>(json, "state"),
            .why = json_value<std::string>(json, "why", ""),
            .us = json_value<double>(json, "us", 0),
            .noise_us = json_value<double>(json, "noise_us", 0),
            .samples = json_value<int>(json, "samples", 0),
            .model_us = json_value<double>(json, "model_us", 0),
            .compile_ms = json_value<double>(json, "compile_ms", 0),
            .vgprs = json_value<int>(json, "vgprs", -1),
            .lds_bytes = json_value<int>(json, "lds_bytes", -1)};
}

TuningRecord record_from_json(const Json& json) try {
    require_format(json, "version", kTuningVersion);
    const auto text = [&](const char* name) { return json_value<std::string>(json, name); };
    TuningRecord r{
        .key = {text("kernel"), text("shape"), text("arch"), text("device"), text("compiler")},
        .point = json_value<NamedValues>(json, "point"),
        .default_point = json_value<NamedValues>(json, "default_point"),
        .us = json_value<double>(json, "us"),
        .default_us = json_value<double>(json, "default_us"),
        .noise_us = json_value<double>(json, "noise_us"),
        .measured = json_value<bool>(json, "measured"),
        .context = json_value<int64_t>(json, "context"),
        .origin = json_value<NamedValues>(json, "origin"),
        .also = json_value<std::vector<NamedValues>>(json, "also"),
        .created = json_value<int64_t>(json, "created")};
    const auto trials = json.find("trials");
    if (trials == json.end() || !trials->is_array()) throw CacheError("it lacks 'trials'");
    for (const Json& trial : *trials) r.trials.push_back(trial_from_json(trial));
    return r;
} catch (const OtherFormat&) {
    throw;
} catch (const CacheError& error) {
    throw CacheError(fmt::format("a tuning result that cannot be read: {}", error.what()));
}

TuningRecord merge(TuningRecord a, TuningRecord b) {
    if (better(b, a)) std::swap(a, b);
    const auto add = [&](const NamedValues& origin) {
        if (origin != a.origin && std::ranges::find(a.also, origin) == a.also.end())
            a.also.push_back(origin);
    };
    add(b.origin);
    for (const NamedValues& origin : b.also) add(origin);
    return a;
}

}  // namespace hetune
