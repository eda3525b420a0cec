#include "runtime/trial/certificate.h"

#include <limits>
#include <nlohmann/json.hpp>

#include "cache/error.h"
#include "cache/json_text.h"

namespace hetune {

using Json = nlohmann::ordered_json;

Json to_json(const Certificate& certificate) {
    Json outputs = Json::array();
    for (const CertifiedOutput& output : certificate.outputs)
        outputs.push_back({{"name", output.name},
                           {"samples", output.samples},
                           {"worst", output.worst},
                           {"mean", output.mean},
                           {"tolerance", output.tolerance},
                           {"worst_by_row_mod_16", output.by_row}});
    Json json = {{"passed", certificate.passed()}};
    if (!certificate.passed()) json["failure"] = certificate.failure;
    json["outputs"] = std::move(outputs);
    json["ms"] = certificate.ms;
    json["launch_ms"] = certificate.launch_ms;
    return json;
}

namespace {

// An error that is no number is written as null.
double error_of(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found != object.end() && found->is_null()) return std::numeric_limits<double>::infinity();
    return json_value<double>(object, name);
}

const Json& list_of(const Json& object, const char* name) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_array())
        throw CacheError(std::string("its '") + name + "' is no list");
    return *found;
}

}  // namespace

Certificate certificate_of(const Json& json) {
    Certificate certificate{.ms = json_value<double>(json, "ms"),
                            .launch_ms = json_value<double>(json, "launch_ms")};
    if (!json_value<bool>(json, "passed")) {
        certificate.failure = json_value<std::string>(json, "failure");
        if (certificate.failure.empty()) throw CacheError("it failed without a reason");
    }
    for (const Json& output : list_of(json, "outputs")) {
        CertifiedOutput one{.name = json_value<std::string>(output, "name"),
                            .samples = json_value<int64_t>(output, "samples"),
                            .worst = error_of(output, "worst"),
                            .mean = error_of(output, "mean"),
                            .tolerance = json_value<double>(output, "tolerance")};
        const Json& classes = list_of(output, "worst_by_row_mod_16");
        if (classes.size() != one.by_row.size()) throw CacheError("it has other classes of rows");
        for (size_t i = 0; i < one.by_row.size(); ++i)
            one.by_row[i] = error_of({{"error", classes[i]}}, "error");
        certificate.outputs.push_back(std::move(one));
    }
    return certificate;
}

}  // namespace hetune
