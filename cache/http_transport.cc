// http(s)://[user:password@]host[:port]/path: GET, HEAD and PUT of path/NAME, as WebDAV servers,
// ccache's and Bazel's remote caches answer them.
//
// libcurl is opened when it is first needed, so that the program runs where it is not installed.
#include <curl/curl.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "cache/remote_transport.h"

#undef curl_easy_setopt  // macros that check types, of functions that are not linked
#undef curl_easy_getinfo

namespace hetune {
namespace {

struct Curl {
    decltype(&::curl_global_init) global_init;
    decltype(&::curl_easy_init) init;
    decltype(&::curl_easy_reset) reset;
    decltype(&::curl_easy_cleanup) cleanup;
    decltype(&::curl_easy_setopt) setopt;
    decltype(&::curl_easy_getinfo) getinfo;
    decltype(&::curl_easy_perform) perform;
    decltype(&::curl_easy_strerror) strerror;
};

// Stays open: other threads may be in it when we end.
const Curl* open_curl() {
    void* library = nullptr;
    for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"})
        if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return nullptr;
    static Curl curl;
    const auto find = [&](auto& function, const char* name) {
        function =
            reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
        return function != nullptr;
    };
    const bool complete =
        find(curl.global_init, "curl_global_init") && find(curl.init, "curl_easy_init") &&
        find(curl.reset, "curl_easy_reset") && find(curl.cleanup, "curl_easy_cleanup") &&
        find(curl.setopt, "curl_easy_setopt") && find(curl.getinfo, "curl_easy_getinfo") &&
        find(curl.perform, "curl_easy_perform") && find(curl.strerror, "curl_easy_strerror");
    return complete && curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? &curl : nullptr;
}

const Curl& curl() {
    static const Curl* const opened = open_curl();
    if (opened == nullptr)
        throw RemoteError("http needs libcurl.so.4, which cannot be opened; install libcurl4");
    return *opened;
}

struct Answer {
    long status = 0;
    std::vector<std::byte> body;
    bool too_large = false;
};

size_t receive(char* from, size_t size, size_t count, void* to) {
    auto& answer = *static_cast<Answer*>(to);
    const size_t bytes = size * count;
    answer.too_large = bytes > kMaxRemoteBytes - answer.body.size();
    if (answer.too_large) return 0;
    const auto* at = reinterpret_cast<const std::byte*>(from);
    answer.body.insert(answer.body.end(), at, at + bytes);
    return bytes;
}

size_t send(char* to, size_t size, size_t count, void* from) {
    auto& left = *static_cast<std::span<const std::byte>*>(from);
    const size_t bytes = std::min(size * count, left.size());
    std::memcpy(to, left.data(), bytes);
    left = left.subspan(bytes);
    return bytes;
}

class HttpTransport : public RemoteTransport {
  public:
    explicit HttpTransport(const std::string& url) : base_(url), url_(split_url(url)) {
        while (base_.ends_with('/')) base_.pop_back();
    }
    ~HttpTransport() override {
        for (CURL* handle : idle_) curl().cleanup(handle);
    }

    std::string name() const override { return url_.shown(); }

    std::optional<std::vector<std::byte>> get(const std::string& name) override {
        Answer answer = ask(name, [](const Curl&, CURL*) {});
        if (is_absent(answer.status)) return std::nullopt;
        if (answer.status != 200) wrong("GET", answer.status);
        return std::move(answer.body);
    }

    bool has(const std::string& name) override {
        const Answer answer =
            ask(name, [](const Curl& c, CURL* handle) { c.setopt(handle, CURLOPT_NOBODY, 1L); });
        if (is_absent(answer.status)) return false;
        if (answer.status != 200) wrong("HEAD", answer.status);
        return true;
    }

    void put(const std::string& name, std::span<const std::byte> value) override {
        const Answer answer = ask(name, [&value](const Curl& c, CURL* handle) {
            c.setopt(handle, CURLOPT_UPLOAD, 1L);
            c.setopt(handle, CURLOPT_READFUNCTION, &send);
            c.setopt(handle, CURLOPT_READDATA, &value);
            c.setopt(handle, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(value.size()));
        });
        if (answer.status / 100 != 2) wrong("PUT", answer.status);
    }

  private:
    static bool is_absent(long status) { return status == 404 || status == 410; }

    [[noreturn]] static void wrong(const char* method, long status) {
        throw RemoteError(fmt::format("{} is answered with HTTP status {}", method, status));
    }

    template <class Prepare>
    Answer ask(const std::string& name, const Prepare& prepare) {
        const Curl& c = curl();
        CURL* handle = take();
        Answer answer;
        const std::string url = base_ + "/" + name;
        c.setopt(handle, CURLOPT_URL, url.c_str());
        c.setopt(handle, CURLOPT_NOSIGNAL, 1L);
        c.setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(kRemoteConnectTime.count()));
        c.setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(kRemoteAnswerTime.count()));
        c.setopt(handle, CURLOPT_USERAGENT, "hetune");
        c.setopt(handle, CURLOPT_WRITEFUNCTION, &receive);
        c.setopt(handle, CURLOPT_WRITEDATA, &answer);
        prepare(c, handle);
        const CURLcode code = c.perform(handle);
        c.getinfo(handle, CURLINFO_RESPONSE_CODE, &answer.status);
        give_back(handle);
        if (answer.too_large) throw RemoteError(fmt::format("{} is too large", name));
        if (code != CURLE_OK) throw RemoteError(c.strerror(code));
        return answer;
    }

    // With its connection, which stays open between requests.
    CURL* take() {
        {
            const std::scoped_lock lock(mutex_);
            if (!idle_.empty()) {
                CURL* handle = idle_.back();
                idle_.pop_back();
                return handle;
            }
        }
        CURL* handle = curl().init();
        if (handle == nullptr) throw RemoteError("libcurl has no memory");
        return handle;
    }
    void give_back(CURL* handle) {
        curl().reset(handle);
        const std::scoped_lock lock(mutex_);
        idle_.push_back(handle);
    }

    std::string base_;
    UrlParts url_;
    std::mutex mutex_;
    std::vector<CURL*> idle_;
};

std::unique_ptr<RemoteTransport> make_http(const std::string& url) {
    return std::make_unique<HttpTransport>(url);
}
const RegisterTransport kHttp{"http", make_http};
const RegisterTransport kHttps{"https", make_http};

}  // namespace
}  // namespace hetune
