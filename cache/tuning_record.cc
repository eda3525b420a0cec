#include "cache/tuning_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cache/error.h"

namespace hetune {
namespace {

constexpr int kVersion = 1;

using Json = nlohmann::ordered_json;

bool better(const TuningRecord& a, const TuningRecord& b) {
    if (a.measured != b.measured) return a.measured;
    if (a.us != b.us) return a.us < b.us;
    return a.created > b.created;
}

// nlohmann's exceptions name no file; this says what was read.
template <class Read>
auto checked(const Read& read) {
    try {
        return read();
    } catch (const nlohmann::json::exception& error) {
        throw CacheError(fmt::format("a tuning result that cannot be read: {}", error.what()));
    }
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
    return {{"version", kVersion},
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

TuningTrial trial_from_json(const nlohmann::json& json) {
    return checked([&] {
        return TuningTrial{.point = json.at("point").get<NamedValues>(),
                           .state = json.at("state"),
                           .why = json.value("why", ""),
                           .us = json.value("us", 0.0),
                           .noise_us = json.value("noise_us", 0.0),
                           .samples = json.value("samples", 0),
                           .model_us = json.value("model_us", 0.0),
                           .compile_ms = json.value("compile_ms", 0.0),
                           .vgprs = json.value("vgprs", -1),
                           .lds_bytes = json.value("lds_bytes", -1)};
    });
}

TuningRecord record_from_json(const nlohmann::json& json) {
    return checked([&] {
        if (json.at("version") != kVersion)
            throw CacheError(fmt::format("a tuning result of format {}; this hetune reads {}",
                                         json.at("version").dump(), kVersion));
        TuningRecord r{.key = {json.at("kernel"), json.at("shape"), json.at("arch"),
                               json.at("device"), json.at("compiler")},
                       .point = json.at("point").get<NamedValues>(),
                       .default_point = json.at("default_point").get<NamedValues>(),
                       .us = json.at("us"),
                       .default_us = json.at("default_us"),
                       .noise_us = json.at("noise_us"),
                       .measured = json.at("measured"),
                       .context = json.at("context"),
                       .origin = json.at("origin").get<NamedValues>(),
                       .also = json.at("also").get<std::vector<NamedValues>>(),
                       .created = json.at("created")};
        for (const auto& trial : json.at("trials")) r.trials.push_back(trial_from_json(trial));
        return r;
    });
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
