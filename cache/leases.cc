#include "cache/leases.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "cache/index.h"

namespace hetune {
namespace {

constexpr int kLeaseBusyMs = 5000;
constexpr std::chrono::seconds kBeat{1};

// Field 22 of /proc/PID/stat, in ticks since boot; empty when there is no such process. The name
// in field 2 may hold anything, so counting starts behind its closing parenthesis.
std::string start_time(int64_t pid) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) return {};
    std::istringstream fields(text.substr(name_end + 1));
    std::string field;
    for (int number = 3; number <= 22; ++number) fields >> field;
    return field;
}

// What is the same for all processes that can see each other's pid.
std::string pid_space() {
    std::string boot;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
    std::error_code error;
    return fmt::format("{}:{}", boot,
                       std::filesystem::read_symlink("/proc/self/ns/pid", error).string());
}

}  // namespace

std::string process_identity() {
    return fmt::format("{}:{}:{}", pid_space(), getpid(), start_time(getpid()));
}

bool may_be_alive(const std::string& identity) {
    const std::string space = pid_space() + ":";
    if (!identity.starts_with(space)) return true;
    const std::string rest = identity.substr(space.size());
    return start_time(std::atoll(rest.c_str())) == rest.substr(rest.find(':') + 1);
}

Leases::Leases(const std::filesystem::path& folder)
    : owner_(process_identity()),
      lock_(lock_index(folder)),
      database_(folder / "index.db", kLeaseBusyMs) {}

Leases::~Leases() {
    if (!heart_.joinable()) return;
    heart_.request_stop();
    heart_.join();
}

bool Leases::take(const CacheKey& key) {
    const std::scoped_lock lock(mutex_);
    if (held_.contains(key)) return false;
    std::optional<Seen> now;
    Transaction transaction(database_);
    database_.prepare("SELECT owner, beat FROM claims WHERE key = ?1")
        .each(
            [&](const Row& row) {
                now = {row.text(0), row.integer(1), {}};
            },
            key.hex());
    if (now && !expired(key, *now)) return false;
    database_.prepare("INSERT OR REPLACE INTO claims VALUES (?1, ?2, 0)").run(key.hex(), owner_);
    transaction.commit();
    seen_.erase(key);
    held_.insert(key);
    if (!heart_.joinable())
        heart_ = std::jthread([this](std::stop_token stop) { beat(std::move(stop)); });
    return true;
}

bool Leases::taken(const CacheKey& key) {
    const std::scoped_lock lock(mutex_);
    std::optional<Seen> now;
    database_.prepare("SELECT owner, beat FROM claims WHERE key = ?1")
        .each(
            [&](const Row& row) {
                now = {row.text(0), row.integer(1), {}};
            },
            key.hex());
    return now && !expired(key, *now);
}

int64_t Leases::owner(const CacheKey& key) {
    const std::scoped_lock lock(mutex_);
    std::string owner;
    database_.prepare("SELECT owner FROM claims WHERE key = ?1")
        .each([&](const Row& row) { owner = row.text(0); }, key.hex());
    // "boot id:pid namespace:pid:start time", where the name of the namespace has a colon.
    const size_t end = owner.rfind(':');
    const size_t start = end == std::string::npos ? end : owner.rfind(':', end - 1);
    return start == std::string::npos ? 0 : std::atoll(owner.c_str() + start + 1);
}

void Leases::release(const CacheKey& key) {
    const std::scoped_lock lock(mutex_);
    held_.erase(key);
    database_.prepare("DELETE FROM claims WHERE key = ?1 AND owner = ?2").run(key.hex(), owner_);
}

bool Leases::expired(const CacheKey& key, const Seen& now) {
    if (now.owner == owner_ && held_.contains(key)) return false;
    if (!may_be_alive(now.owner)) return true;
    Seen& seen = seen_[key];
    const auto time = std::chrono::steady_clock::now();
    if (seen.owner != now.owner || seen.beat != now.beat) seen = {now.owner, now.beat, time};
    return time - seen.since > kLease;
}

void Leases::beat(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    while (!stopping_.wait_for(lock, stop, kBeat, [&] { return stop.stop_requested(); })) {
        if (held_.empty()) continue;
        try {
            database_.prepare("UPDATE claims SET beat = beat + 1 WHERE owner = ?1").run(owner_);
        } catch (const DatabaseError&) {  // a beat missed; after five the claim is lost, which
        }                                 // costs a second compile
    }
}

}  // namespace hetune
