// The remote cache against a real Redis and a real nginx (WebDAV), each started here on a free port
// and ended with the test. What is not installed is skipped.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "cache/code_store.h"
#include "cache/index.h"
#include "cache/maintenance.h"
#include "tests/cache/child_process.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"
#include "tests/skip.h"

namespace hetune {
namespace {

sockaddr_in address_of(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int free_port() {
    const FileHandle listener(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = address_of(0);
    socklen_t size = sizeof(address);
    REQUIRE(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return ntohs(address.sin_port);
}

bool answers(int port) {
    const FileHandle client(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = address_of(port);
    return connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

bool installed(const char* program) {
    return std::system(
               fmt::format("PATH=$PATH:/usr/sbin command -v {} >/dev/null", program).c_str()) == 0;
}

// A server that runs until it is stopped or this ends.
class Server {
  public:
    Server(const std::string& command, int port) : port_(port) {
        child_ = start_child([&] {
            execl("/bin/sh", "sh", "-c", ("PATH=$PATH:/usr/sbin exec " + command).c_str(), nullptr);
            return 127;
        });
        for (int i = 0; i < 500 && !answers(port); ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        REQUIRE(answers(port));
    }
    ~Server() { stop(); }
    void stop() {
        if (child_ < 0) return;
        kill(child_, SIGTERM);
        wait_for_child(child_);
        child_ = -1;
    }
    // Takes connections and answers nothing.
    void freeze() { kill(child_, SIGSTOP); }
    void thaw() { kill(child_, SIGCONT); }
    int port() const { return port_; }

  private:
    int port_;
    pid_t child_ = -1;
};

Server start_redis(const TestFolder& folder, const std::string& options = {}) {
    const int port = free_port();
    return {fmt::format(
                "redis-server --port {} --bind 127.0.0.1 --save '' --appendonly no --dir '{}' {} "
                ">/dev/null 2>&1",
                port, folder.path().string(), options),
            port};
}

Server start_nginx(const TestFolder& folder) {
    const int port = free_port();
    const std::string path = folder.path().string();
    std::ofstream(folder.path() / "nginx.conf") << fmt::format(
        "{}daemon off; master_process off; pid '{}/pid'; error_log '{}/error.log';\n"
        "events {{ worker_connections 64; }}\n"
        "http {{\n"
        "  access_log off; client_max_body_size 64m; client_body_temp_path '{}/body';\n"
        "  proxy_temp_path '{}/t1'; fastcgi_temp_path '{}/t2'; uwsgi_temp_path '{}/t3'; "
        "scgi_temp_path "
        "'{}/t4';\n"
        "  server {{\n"
        "    listen 127.0.0.1:{}; root '{}/www';\n"
        "    location /cache/ {{ dav_methods PUT DELETE; create_full_put_path on; }}\n"
        "    location /closed/ {{ return 403; }}\n"
        "  }}\n"
        "}}\n",
        getuid() == 0 ? "user root;\n" : "", path, path, path, path, path, path, path, port, path);
    std::filesystem::create_directories(folder.path() / "www" / "cache");
    return {fmt::format("nginx -c '{}/nginx.conf' -p '{}' -e '{}/error.log'", path, path, path),
            port};
}

CacheOptions machine(const TestFolder& folder, const std::string& url, const SigningKey* key,
                     Warnings* warnings = nullptr) {
    CacheOptions options{.folder = folder.path() / "cache"};
    options.remote = {url, key == nullptr, {}};
    if (key != nullptr) {
        options.trust = parse_trust(key->public_key().text());
        options.remote.signing_key = folder.path() / "key";
        if (!std::filesystem::exists(options.remote.signing_key))
            key->save(options.remote.signing_key);
    }
    if (warnings != nullptr) options.warn = warnings->function();
    return options;
}

// One machine compiles, the next one does not; a third has no folder and one without a key gets
// nothing.
void share(const std::string& url) {
    constexpr int kKeys = 20;
    const SigningKey key = SigningKey::generate();
    TestFolder one, two;
    int made = 0;
    const auto get_all = [&](CodeStore& store) {
        for (int i = 0; i < kKeys; ++i)
            REQUIRE(store.get_or_make(sample_key(i), sample_parts(i), [&] {
                ++made;
                return sample_object(i, 16384);
            }) == sample_object(i, 16384));
    };
    Warnings warnings;
    {
        CodeStore store(machine(one, url, &key, &warnings));
        get_all(store);
        CHECK(made == kKeys);
    }
    {
        CodeStore store(machine(two, url, &key, &warnings));
        get_all(store);
        CHECK(made == kKeys);
        CHECK(store.statistics().places.back().hits == kKeys);
        CHECK(store.statistics().places.back().saved_ms == doctest::Approx(kKeys * 70.5));
        get_all(store);  // now from the folder
        CHECK(store.statistics().places.back().hits == kKeys);
    }
    CacheFolder folder({.folder = two.path() / "cache"});
    CHECK(verify_cache(folder, false).clean());
    CHECK(list_objects(folder).at(3).parts == sample_parts(3));
    {
        CacheOptions options = machine(two, url, &key, &warnings);
        options.folder.clear();
        CodeStore store(options);
        get_all(store);
        get_all(store);
        CHECK(made == kKeys);
        CHECK(store.statistics().places.back().hits == kKeys);
    }
    CHECK(warnings.list().empty());
    {
        const SigningKey stranger = SigningKey::generate();
        TestFolder other;
        CodeStore store(machine(other, url, &stranger, &warnings));
        CHECK_FALSE(store.find(sample_key(0)).has_value());
        CHECK(warnings.list().size() == 1);
    }
    // Many threads at once.
    TestFolder three;
    CodeStore store(machine(three, url, &key));
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < kKeys; ++i) store.find(sample_key(i));
        });
    threads.clear();
    CHECK(store.statistics().hits == 8 * kKeys);
}

// A time-out or two, and then the run goes on without.
void survive(Server& server, const std::string& url, const auto& disturb) {
    TestFolder folder;
    Warnings warnings;
    CodeStore store(machine(folder, url, nullptr, &warnings));
    store.put(sample_key(1), sample_object(1), sample_parts(1));
    CHECK(warnings.list().empty());
    disturb(server);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 100; i < 140; ++i)
        CHECK(store.get_or_make(sample_key(i), {}, [&] { return sample_object(i); }) ==
              sample_object(i));
    const auto took = std::chrono::steady_clock::now() - start;
    CHECK(took < CircuitBreaker::kFailures * kRemoteAnswerTime + std::chrono::seconds(5));
    CHECK(warnings.list().size() == 2);  // it fails; it is left alone
}

TEST_CASE("Redis: machines share what they compiled, and go on when it freezes or ends") {
    if (!installed("redis-server"))
        return testing::skip("redis-server is not installed (tools/deps --all)");
    TestFolder folder;
    Server server = start_redis(folder);
    const std::string url = fmt::format("redis://127.0.0.1:{}", server.port());
    share(url);
    share(url + "/3");
    survive(server, url, [](Server& s) { s.freeze(); });
    server.thaw();
    survive(server, url, [](Server& s) { s.stop(); });
}

TEST_CASE("Redis: with a password, and a wrong one is one clear line that does not show it") {
    if (!installed("redis-server"))
        return testing::skip("redis-server is not installed (tools/deps --all)");
    TestFolder folder, one;
    Server server = start_redis(folder, "--requirepass open-sesame");
    share(fmt::format("redis://:open-sesame@127.0.0.1:{}", server.port()));
    Warnings warnings;
    CodeStore store(machine(one, fmt::format("redis://:wrong-word@127.0.0.1:{}", server.port()),
                            nullptr, &warnings));
    CHECK_FALSE(store.find(sample_key(1)).has_value());
    REQUIRE(warnings.list().size() == 1);
    CHECK(warnings.list()[0].find("WRONGPASS") != std::string::npos);
    CHECK(warnings.list()[0].find("wrong-word") == std::string::npos);
}

TEST_CASE("nginx: machines share what they compiled, and go on when it freezes, refuses or ends") {
    if (!installed("nginx")) return testing::skip("nginx is not installed (tools/deps --all)");
    TestFolder folder;
    Server server = start_nginx(folder);
    const std::string base = fmt::format("http://127.0.0.1:{}", server.port());
    share(base + "/cache");
    CHECK(std::filesystem::exists(folder.path() / "www" / "cache" / object_name(sample_key(3))));
    share(base + "/cache/another/");
    survive(server, base + "/cache/closed-later", [](Server& s) { s.freeze(); });
    server.thaw();

    TestFolder one;
    Warnings warnings;
    {
        CodeStore store(machine(one, base + "/closed", nullptr, &warnings));
        CHECK_FALSE(store.find(sample_key(1)).has_value());
    }
    REQUIRE(warnings.list().size() == 1);
    CHECK(warnings.list()[0].find("403") != std::string::npos);
    survive(server, base + "/cache/", [](Server& s) { s.stop(); });
}

}  // namespace
}  // namespace hetune
