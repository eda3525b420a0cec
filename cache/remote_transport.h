// Bytes by name in a service that several machines share. A new kind of service is a new file that
// registers its scheme.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

constexpr std::chrono::milliseconds kRemoteConnectTime{1000};
constexpr std::chrono::milliseconds kRemoteAnswerTime{5000};  // for a whole request
constexpr size_t kMaxRemoteBytes = 64 << 20;                  // of one value

// The service did not answer, or not as it should. One line, without the password of the URL.
class RemoteError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Thread-safe. All but the destructor and name() throw RemoteError, after kRemoteAnswerTime at the
// latest.
class RemoteTransport {
  public:
    virtual ~RemoteTransport() = default;
    virtual std::string name() const = 0;  // its URL, to be shown
    // Empty: there is none. A value of more than kMaxRemoteBytes is an error.
    virtual std::optional<std::vector<std::byte>> get(const std::string& name) = 0;
    virtual bool has(const std::string& name) = 0;
    virtual void put(const std::string& name, std::span<const std::byte> value) = 0;
};

// By the scheme of the URL. Throws RemoteError for one that is none or that this build lacks;
// connects later.
std::unique_ptr<RemoteTransport> make_transport(const std::string& url);

struct RegisterTransport {
    using Make = std::unique_ptr<RemoteTransport> (*)(const std::string& url);
    RegisterTransport(const char* scheme, Make make);
};

// "scheme://user:password@host:port/path"; empty where a part is missing.
struct UrlParts {
    std::string scheme, user, password, host, port, path;
    std::string shown() const;  // without user and password
};
// Throws RemoteError.
UrlParts split_url(const std::string& url);

}  // namespace hetune
