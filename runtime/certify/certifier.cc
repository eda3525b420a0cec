#include "runtime/certify/certifier.h"

#include <map>

namespace hetune {
namespace {

std::map<std::string, Certifier, std::less<>>& certifiers() {
    static std::map<std::string, Certifier, std::less<>> by_name;
    return by_name;
}

}  // namespace

RegisterCertifier::RegisterCertifier(std::vector<std::string> templates, Certifier certifier) {
    for (std::string& name : templates) certifiers()[std::move(name)] = certifier;
}

const Certifier* find_certifier(std::string_view name) {
    const auto found = certifiers().find(name);
    return found == certifiers().end() ? nullptr : &found->second;
}

}  // namespace hetune
