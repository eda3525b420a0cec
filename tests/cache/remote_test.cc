// The remote cache without a service: what is asked, stored, refused and left alone.
// remote_services_test.cc has the real ones.
#include "cache/remote.h"

#include <doctest/doctest.h>

#include <map>
#include <new>

#include "cache/code_store.h"
#include "cache/error.h"
#include "cache/index.h"
#include "cache/object_file.h"
#include "cache/remote_object.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

using Values = std::map<std::string, std::vector<std::byte>>;

// What several machines would see, and how often each request came.
struct Service {
    Values values;
    int gets = 0, heads = 0, puts = 0;
    bool down = false;
    bool out_of_memory = false;
};

class FakeTransport : public RemoteTransport {
  public:
    explicit FakeTransport(Service& service) : service_(service) {}
    std::string name() const override { return "fake://"; }
    std::optional<std::vector<std::byte>> get(const std::string& name) override {
        ++service_.gets;
        answer();
        const auto found = service_.values.find(name);
        return found == service_.values.end() ? std::nullopt : std::optional(found->second);
    }
    bool has(const std::string& name) override {
        ++service_.heads;
        answer();
        return service_.values.contains(name);
    }
    void put(const std::string& name, std::span<const std::byte> value) override {
        ++service_.puts;
        answer();
        service_.values[name].assign(value.begin(), value.end());
    }

  private:
    void answer() const {
        if (service_.down) throw RemoteError("timed out");
        if (service_.out_of_memory) throw std::bad_alloc();
    }
    Service& service_;
};

struct Fixture {
    Service service;
    std::map<std::string, int> warnings;
    std::chrono::steady_clock::time_point now{};

    RemoteCache cache(const Trust& trust = {}, std::optional<SigningKey> key = {}) {
        return RemoteCache(
            std::make_unique<FakeTransport>(service), trust, std::move(key),
            [this](const std::string& kind, const std::string&) { ++warnings[kind]; },
            [this] { return now; });
    }
};

std::vector<std::byte> file_of(int number) {
    return encode_object(sample_key(number), sample_object(number), sample_parts(number));
}

TEST_CASE_FIXTURE(Fixture, "What one machine stores another one fetches, compile time included") {
    cache().store(sample_key(1), file_of(1));
    const auto fetched = cache().fetch(sample_key(1));
    REQUIRE(fetched.has_value());
    CHECK(fetched->code == sample_object(1));
    CHECK(fetched->file == file_of(1));
    CHECK_FALSE(cache().fetch(sample_key(2)).has_value());
    CHECK(service.values.contains(object_name(sample_key(1))));
    cache().store(sample_key(1), file_of(1));  // is there already
    CHECK(service.puts == 1);
    CHECK(warnings.empty());
}

TEST_CASE_FIXTURE(Fixture, "Where keys are asked for, only what they signed is used") {
    const SigningKey key = SigningKey::generate();
    const Trust trust = parse_trust(key.public_key().text());
    cache({}).store(sample_key(1), file_of(1));                          // unsigned
    cache({}, SigningKey::generate()).store(sample_key(2), file_of(2));  // by a stranger
    cache(trust, key).store(sample_key(3), file_of(3));
    cache(trust).store(sample_key(4), file_of(4));  // has no key to sign with: stores nothing
    CHECK(service.values.size() == 3);
    CHECK_FALSE(cache(trust).fetch(sample_key(1)).has_value());
    CHECK_FALSE(cache(trust).fetch(sample_key(2)).has_value());
    CHECK(cache(trust).fetch(sample_key(3)).has_value());
    CHECK(warnings["remote object"] == 2);
    // A good and signed object under the key of another one.
    service.values[object_name(sample_key(5))] = service.values[object_name(sample_key(3))];
    CHECK_FALSE(cache(trust).fetch(sample_key(5)).has_value());
    CHECK_FALSE(cache().fetch(sample_key(5)).has_value());
}

TEST_CASE_FIXTURE(Fixture, "A damaged object is refused, and replaced by ours") {
    service.values[object_name(sample_key(1))] = std::vector<std::byte>(400);
    RemoteCache remote = cache();
    CHECK_FALSE(remote.fetch(sample_key(1)).has_value());
    remote.store(sample_key(1), file_of(1));
    CHECK(remote.fetch(sample_key(1)).has_value());
    CHECK(service.puts == 1);
}

TEST_CASE_FIXTURE(Fixture,
                  "A service that is down is left alone after three failures, then tried") {
    RemoteCache remote = cache();
    service.down = true;
    for (int i = 0; i < 50; ++i) CHECK_FALSE(remote.fetch(sample_key(1)).has_value());
    remote.store(sample_key(1), file_of(1));
    CHECK(service.gets == CircuitBreaker::kFailures);
    CHECK(service.heads == 0);
    CHECK(warnings["remote pause"] == 1);
    now += CircuitBreaker::kPause;
    remote.fetch(sample_key(1));
    remote.fetch(sample_key(1));  // the try failed: it is left alone again
    CHECK(service.gets == CircuitBreaker::kFailures + 1);
    now += CircuitBreaker::kPause;
    service.down = false;
    remote.store(sample_key(1), file_of(1));
    CHECK(remote.fetch(sample_key(1)).has_value());
    CHECK(remote.fetch(sample_key(1)).has_value());
}

TEST_CASE_FIXTURE(Fixture, "Whatever fails in a request, the service is tried again later") {
    RemoteCache remote = cache();
    service.out_of_memory = true;
    for (int i = 0; i < 5; ++i) CHECK_FALSE(remote.fetch(sample_key(1)).has_value());
    now += CircuitBreaker::kPause;
    remote.store(sample_key(1), file_of(1));  // the one try, and it does not throw
    service.out_of_memory = false;
    now += CircuitBreaker::kPause;
    remote.store(sample_key(1), file_of(1));
    CHECK(remote.fetch(sample_key(1)).has_value());
}

TEST_CASE("A remote cache without a trusted key is refused unless HETUNE_REMOTE_TRUST=1 is set") {
    const auto warnings_of = [](const RemoteOptions& options, const Trust& trust) {
        std::vector<std::string> said;
        const auto cache = RemoteCache::open(
            options, trust,
            [&](const std::string&, const std::string& text) { said.push_back(text); });
        CHECK((cache == nullptr) == !said.empty());
        return said;
    };
    CHECK(RemoteCache::open({}, {}, {}) == nullptr);
    const std::string url = "redis://127.0.0.1:1";
    const auto refused = warnings_of({url}, {});
    REQUIRE(refused.size() == 1);
    CHECK(refused[0].find("HETUNE_TRUSTED_KEYS") != std::string::npos);
    CHECK(refused[0].find("HETUNE_REMOTE_TRUST=1") != std::string::npos);
#ifdef HETUNE_REMOTE
    CHECK(warnings_of({url, true}, {}).empty());
    CHECK(warnings_of({url}, {.required = true}).empty());
    CHECK(warnings_of({"ftp://host", true}, {}).at(0).find("http, https, redis") !=
          std::string::npos);
    CHECK(warnings_of({"redis://host:port", true}, {}).size() == 1);
#endif
    CHECK(warnings_of({"nonsense", true}, {}).size() == 1);
    CHECK(warnings_of({url, true, "/nonexistent/key"}, {}).size() == 1);
}

TEST_CASE("The password of a URL is not shown") {
    const UrlParts url = split_url("redis://user:secret:2@[::1]:6380/3");
    CHECK(url.user == "user");
    CHECK(url.password == "secret:2");
    CHECK(url.host == "[::1]");
    CHECK(url.port == "6380");
    CHECK(url.shown() == "redis://[::1]:6380/3");
    CHECK_THROWS_AS(split_url("redis://"), RemoteError);
}

}  // namespace
}  // namespace hetune
