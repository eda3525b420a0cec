#include "runtime/certify/certificate.h"

#include <nlohmann/json.hpp>

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

Certificate certificate_of(const Json& json) {
    Certificate certificate{.ms = json.at("ms"), .launch_ms = json.at("launch_ms")};
    if (!json.at("passed").get<bool>()) certificate.failure = json.at("failure");
    for (const Json& output : json.at("outputs")) {
        // An error that is no number is written as null.
        const auto number = [](const Json& value) {
            return value.is_null() ? std::numeric_limits<double>::infinity() : value.get<double>();
        };
        CertifiedOutput one{.name = output.at("name"),
                            .samples = output.at("samples"),
                            .worst = number(output.at("worst")),
                            .mean = number(output.at("mean")),
                            .tolerance = number(output.at("tolerance"))};
        const Json& classes = output.at("worst_by_row_mod_16");
        for (size_t i = 0; i < one.by_row.size(); ++i) one.by_row[i] = number(classes.at(i));
        certificate.outputs.push_back(std::move(one));
    }
    return certificate;
}

}  // namespace hetune
