// redis://[user:password@]host[:port][/db]: GET, EXISTS and SET of "hetune:NAME".
#include <fmt/format.h>
#include <hiredis/hiredis.h>

#include <charconv>
#include <cstdarg>
#include <mutex>

#include "cache/remote_transport.h"

namespace hetune {
namespace {

constexpr int kDefaultPort = 6379;

struct FreeContext {
    void operator()(redisContext* context) const { redisFree(context); }
};
struct FreeReply {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using Connection = std::unique_ptr<redisContext, FreeContext>;
using Reply = std::unique_ptr<redisReply, FreeReply>;

timeval timeval_of(std::chrono::milliseconds time) {
    return {time.count() / 1000, static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

int number(const std::string& text, int otherwise, const char* what) {
    if (text.empty()) return otherwise;
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > 65535)
        throw RemoteError(fmt::format("{} '{}' of its URL is no number", what, text));
    return value;
}

class RedisTransport : public RemoteTransport {
  public:
    explicit RedisTransport(const std::string& url)
        : url_(split_url(url)),
          port_(number(url_.port, kDefaultPort, "the port")),
          database_(number(url_.path.substr(url_.path.empty() ? 0 : 1), 0, "the database")) {
        host_ = url_.host.starts_with('[') ? url_.host.substr(1, url_.host.size() - 2) : url_.host;
    }

    std::string name() const override { return url_.shown(); }

    // GETRANGE, so that the server bounds the answer. A value is never empty.
    std::optional<std::vector<std::byte>> get(const std::string& name) override {
        const Reply reply = ask({"GETRANGE", key(name), "0", std::to_string(kMaxRemoteBytes)});
        if (reply->type != REDIS_REPLY_STRING) wrong(*reply);
        if (reply->len == 0) return std::nullopt;
        if (reply->len > kMaxRemoteBytes) throw RemoteError(fmt::format("{} is too large", name));
        const auto* bytes = reinterpret_cast<const std::byte*>(reply->str);
        return std::vector<std::byte>(bytes, bytes + reply->len);
    }

    bool has(const std::string& name) override {
        const Reply reply = ask({"EXISTS", key(name)});
        if (reply->type != REDIS_REPLY_INTEGER) wrong(*reply);
        return reply->integer > 0;
    }

    void put(const std::string& name, std::span<const std::byte> value) override {
        const Reply reply =
            ask({"SET", key(name), {reinterpret_cast<const char*>(value.data()), value.size()}});
        if (reply->type != REDIS_REPLY_STATUS) wrong(*reply);
    }

  private:
    static std::string key(const std::string& name) { return "hetune:" + name; }

    [[noreturn]] static void wrong(const redisReply& reply) {
        throw RemoteError(reply.type == REDIS_REPLY_ERROR ? std::string(reply.str, reply.len)
                                                          : "an answer of another kind");
    }

    static Reply ask(redisContext& connection, const std::vector<std::string>& words) {
        std::vector<const char*> texts;
        std::vector<size_t> sizes;
        for (const std::string& word : words) {
            texts.push_back(word.data());
            sizes.push_back(word.size());
        }
        Reply reply(static_cast<redisReply*>(redisCommandArgv(
            &connection, static_cast<int>(words.size()), texts.data(), sizes.data())));
        if (!reply) throw RemoteError(connection.errstr);
        return reply;
    }

    // On a connection that is idle, or a new one; one that failed is not used again.
    Reply ask(const std::vector<std::string>& words) {
        Connection connection = idle();
        if (!connection) connection = connect();
        Reply reply = ask(*connection, words);
        const std::scoped_lock lock(mutex_);
        idle_.push_back(std::move(connection));
        return reply;
    }

    Connection idle() {
        const std::scoped_lock lock(mutex_);
        if (idle_.empty()) return nullptr;
        Connection connection = std::move(idle_.back());
        idle_.pop_back();
        return connection;
    }

    Connection connect() const {
        Connection connection(
            redisConnectWithTimeout(host_.c_str(), port_, timeval_of(kRemoteConnectTime)));
        if (!connection) throw RemoteError("no memory for a connection");
        if (connection->err != 0) throw RemoteError(connection->errstr);
        redisSetTimeout(connection.get(), timeval_of(kRemoteAnswerTime));
        if (!url_.password.empty()) {
            std::vector<std::string> words = {"AUTH", url_.password};
            if (!url_.user.empty()) words.insert(words.begin() + 1, url_.user);
            expect_status(*connection, words);
        }
        if (database_ != 0) expect_status(*connection, {"SELECT", std::to_string(database_)});
        return connection;
    }

    static void expect_status(redisContext& connection, const std::vector<std::string>& words) {
        const Reply reply = ask(connection, words);
        if (reply->type != REDIS_REPLY_STATUS) wrong(*reply);
    }

    UrlParts url_;
    std::string host_;
    int port_;
    int database_;
    std::mutex mutex_;
    std::vector<Connection> idle_;
};

const RegisterTransport kRedis{"redis",
                               [](const std::string& url) -> std::unique_ptr<RemoteTransport> {
                                   return std::make_unique<RedisTransport>(url);
                               }};

}  // namespace
}  // namespace hetune
