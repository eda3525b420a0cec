#include "cache/remote_transport.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

namespace hetune {
namespace {

std::map<std::string, RegisterTransport::Make>& registry() {
    static std::map<std::string, RegisterTransport::Make> map;
    return map;
}

}  // namespace

RegisterTransport::RegisterTransport(const char* scheme, Make make) {
    registry().emplace(scheme, make);
}

std::unique_ptr<RemoteTransport> make_transport(const std::string& url) {
    const UrlParts parts = split_url(url);
    const auto found = registry().find(parts.scheme);
    if (found != registry().end()) return found->second(url);
    std::vector<std::string> known;
    for (const auto& [scheme, make] : registry()) known.push_back(scheme);
    throw RemoteError(known.empty() ? "this hetune was built without remote caches (HETUNE_REMOTE)"
                                    : fmt::format("the scheme '{}' is unknown; known are {}",
                                                  parts.scheme, fmt::join(known, ", ")));
}

std::string UrlParts::shown() const {
    return fmt::format("{}://{}{}{}{}", scheme, host, port.empty() ? "" : ":", port, path);
}

UrlParts split_url(const std::string& url) {
    const size_t scheme_end = url.find("://");
    if (scheme_end == std::string::npos)
        throw RemoteError("it is no URL such as redis://host:6379 or https://host/cache");
    UrlParts parts;
    parts.scheme = url.substr(0, scheme_end);
    std::string rest = url.substr(scheme_end + 3);
    const size_t path = rest.find('/');
    if (path != std::string::npos) {
        parts.path = rest.substr(path);
        rest.resize(path);
    }
    if (const size_t at = rest.rfind('@'); at != std::string::npos) {
        parts.user = rest.substr(0, at);
        rest.erase(0, at + 1);
        if (const size_t colon = parts.user.find(':'); colon != std::string::npos) {
            parts.password = parts.user.substr(colon + 1);
            parts.user.resize(colon);
        }
    }
    const size_t bracket = rest.starts_with('[') ? rest.find(']') : 0;  // [::1]:6379
    const size_t colon = rest.find(':', bracket == std::string::npos ? 0 : bracket);
    parts.host = rest.substr(0, colon);
    if (colon != std::string::npos) parts.port = rest.substr(colon + 1);
    if (parts.host.empty()) throw RemoteError("its URL names no host");
    return parts;
}

}  // namespace hetune
