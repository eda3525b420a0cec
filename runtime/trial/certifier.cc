#include "runtime/trial/certifier.h"

#include <map>

namespace hetune {
namespace {

struct Registered {
    Certifier certifier;
    int version = 0;
};

std::map<std::string, Registered, std::less<>>& certifiers() {
    static std::map<std::string, Registered, std::less<>> by_name;
    return by_name;
}

}  // namespace

RegisterCertifier::RegisterCertifier(std::vector<std::string> templates, Certifier certifier,
                                     int version) {
    for (std::string& name : templates) certifiers()[std::move(name)] = {certifier, version};
}

const Certifier* find_certifier(std::string_view name) {
    const auto found = certifiers().find(name);
    return found == certifiers().end() ? nullptr : &found->second.certifier;
}

int certifier_version(std::string_view name) {
    const auto found = certifiers().find(name);
    return found == certifiers().end() ? 0 : found->second.version;
}

}  // namespace hetune
