#include "cache/index.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>
#include <thread>

#include "cache/cache_folder.h"
#include "cache/json_text.h"

namespace hetune {
namespace {

constexpr int kBusyMs = 2000;
constexpr int kOpenBusyMs = 30000;  // another process may be filling a new index from the files
constexpr int64_t kTouchSeconds = 3600;
constexpr size_t kInfoBytes = 64 << 10;  // read of a file for its row: head, entry and parts

// Step i brings an index of version i to i + 1.
constexpr std::array<const char*, Index::kSchemaVersion> kMigrations = {
    R"(
    CREATE TABLE objects (key TEXT PRIMARY KEY, bytes INTEGER NOT NULL, compile_ms REAL NOT NULL,
                          kernel TEXT NOT NULL, parts TEXT NOT NULL, created INTEGER NOT NULL,
                          used INTEGER NOT NULL);
    CREATE INDEX objects_used ON objects (used, bytes);
    CREATE INDEX objects_kernel ON objects (kernel);
    CREATE TABLE totals (objects INTEGER NOT NULL, bytes INTEGER NOT NULL);
    INSERT INTO totals VALUES (0, 0);
    CREATE TRIGGER objects_added AFTER INSERT ON objects BEGIN
        UPDATE totals SET objects = objects + 1, bytes = bytes + new.bytes;
    END;
    CREATE TRIGGER objects_removed AFTER DELETE ON objects BEGIN
        UPDATE totals SET objects = objects - 1, bytes = bytes - old.bytes;
    END;
    CREATE TABLE counters (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
)",
    R"(
    CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL, beat INTEGER NOT NULL)
        WITHOUT ROWID;
)",
    R"(
    CREATE TABLE models (stat TEXT PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID;
)"};

constexpr const char* kAdd =
    "INSERT INTO objects (key, bytes, compile_ms, kernel, parts, created, used) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";
constexpr const char* kRemove = "DELETE FROM objects WHERE key = ?1";
constexpr const char* kTouch = "UPDATE objects SET used = ?2 WHERE key = ?1";

enum class State { kGood, kDamaged, kNewer };

// Some steps of opening (switching to WAL) meet SQLITE_BUSY without asking the busy handler.
template <class Step>
void retry_while_busy(const Step& step) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kOpenBusyMs);
    for (;;) {
        try {
            return step();
        } catch (const DatabaseError& error) {
            if (!error.busy() || std::chrono::steady_clock::now() > until) throw;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

std::string kernel_of(const KeyParts& parts) {
    const auto found = parts.find("template");
    return found == parts.end() ? std::string() : found->second;
}

// Empty for a text that is no object of texts: a damaged row is no row.
std::optional<KeyParts> parts_in(const std::string& text) try {
    const auto json = parse_json(text);
    KeyParts parts;
    for (const auto& [name, value] : json.items())
        parts[name] = json_value<std::string>(json, name);
    return json.is_object() ? std::optional(parts) : std::nullopt;
} catch (const CacheError&) {
    return std::nullopt;
}

void add_row(Statement& add, const ObjectRow& row) {
    add.run(
        row.key.hex(), row.bytes, row.compile_ms, row.kernel,
        nlohmann::json(row.parts).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
        row.created);
}

ObjectRow row_of(const ObjectInfo& info, int64_t created) {
    return {info.key,   info.file_bytes, info.compile_ms, kernel_of(info.parts),
            info.parts, created,         created};
}

std::optional<ObjectInfo> read_object_info(const std::filesystem::path& path, struct stat& status) {
    const FileHandle file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    std::vector<std::byte> head(std::min<size_t>(static_cast<size_t>(status.st_size), kInfoBytes));
    const ssize_t got = pread(file.get(), head.data(), head.size(), 0);
    if (got < 0) return std::nullopt;
    auto info = decode_object_info(std::span(head).first(static_cast<size_t>(got)));
    if (!info || info->file_bytes != static_cast<uint64_t>(status.st_size)) return std::nullopt;
    return info;
}

void fill_from_files(Database& database, const std::filesystem::path& folder) {
    Statement add = database.prepare(kAdd);
    each_object_file(folder, [&](const CacheKey& key, const std::filesystem::path& path) {
        const auto row = read_object_row(path);
        if (row && row->key == key) add_row(add, *row);
    });
}

// Brings the schema to today's version. A new index takes up the files that are there.
State prepare_schema(const std::filesystem::path& folder, bool local_disk) {
    try {
        Database database(folder / "index.db", kOpenBusyMs);
        const int64_t version = database.integer("PRAGMA user_version");
        if (version > Index::kSchemaVersion) return State::kNewer;
        retry_while_busy([&] {
            database.execute(local_disk ? "PRAGMA journal_mode = WAL"
                                        : "PRAGMA journal_mode = DELETE");
        });
        if (version == Index::kSchemaVersion) {
            database.integer("SELECT count(*) FROM totals");
            return State::kGood;
        }
        Transaction transaction(database);
        const int64_t before =
            database.integer("PRAGMA user_version");  // others may have been quicker
        for (int64_t step = before; step < Index::kSchemaVersion; ++step)
            database.execute(kMigrations[static_cast<size_t>(step)]);
        if (before == 0) fill_from_files(database, folder);
        database.execute(fmt::format("PRAGMA user_version = {}", Index::kSchemaVersion));
        transaction.commit();
        return State::kGood;
    } catch (const DatabaseError& error) {
        if (!error.damaged() && !error.wrong_sql()) throw;
        return State::kDamaged;
    }
}

void set_aside(const std::filesystem::path& folder) {
    std::error_code ignored;
    std::filesystem::rename(folder / "index.db", folder / "index.db.aside", ignored);
    for (const char* name : {"index.db-wal", "index.db-shm", "index.db-journal", "index.damaged"})
        std::filesystem::remove(folder / name, ignored);
}

void say(const WarnFunction& warn, const std::string& text) {
    if (warn) warn(text);
}

}  // namespace

std::unique_ptr<Index> Index::open(const std::filesystem::path& folder, bool local_disk,
                                   const WarnFunction& warn) try {
    FileHandle lock = lock_index(folder);

    std::error_code none;
    State state = std::filesystem::exists(folder / "index.damaged", none)
                      ? State::kDamaged
                      : prepare_schema(folder, local_disk);
    if (state != State::kGood) {
        const char* why = state == State::kNewer ? "is of a newer hetune" : "is damaged";
        if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
            say(warn, fmt::format("cache: {} {}, and in use: going on without it",
                                  (folder / "index.db").string(), why));
            return nullptr;
        }
        say(warn, fmt::format("cache: {} {}: set aside and made again from the files",
                              (folder / "index.db").string(), why));
        set_aside(folder);
        state = prepare_schema(folder, local_disk);
        flock(lock.get(), LOCK_SH);
    }
    if (state != State::kGood) throw DatabaseError("index.db cannot be made again", SQLITE_CORRUPT);
    return std::unique_ptr<Index>(new Index(folder, local_disk, std::move(lock)));
} catch (const std::exception& error) {
    if (is_disk_full(error))
        say(warn, "cache: " + full_disk_warning(folder));
    else
        say(warn, fmt::format("cache: no index in {}: {}", folder.string(), error.what()));
    return nullptr;
}

Index::Index(const std::filesystem::path& folder, bool local_disk, FileHandle lock)
    : folder_(folder),
      lock_(std::move(lock)),
      database_(folder / "index.db", kBusyMs),
      add_(database_.prepare(kAdd)),
      remove_(database_.prepare(kRemove)),
      touch_(database_.prepare(kTouch)) {
    // In WAL mode NORMAL loses at most the last rows in a power cut: the files have them.
    database_.execute(local_disk ? "PRAGMA synchronous = NORMAL" : "PRAGMA synchronous = FULL");
}

void Index::add(const ObjectInfo& info, int64_t created) {
    Transaction transaction(database_);
    remove_.run(info.key.hex());
    add_row(add_, row_of(info, created));
    transaction.commit();
}

void Index::remove(const CacheKey& key) { remove_.run(key.hex()); }

void Index::remove(const std::vector<CacheKey>& keys) {
    Transaction transaction(database_);
    for (const CacheKey& key : keys) remove_.run(key.hex());
    transaction.commit();
}

void Index::remove_all_objects() { database_.execute("DELETE FROM objects"); }

void Index::touch(const std::unordered_map<std::string, int64_t>& used_at) {
    Statement last_use = database_.prepare("SELECT used FROM objects WHERE key = ?1");
    Transaction transaction(database_);
    for (const auto& [key, time] : used_at) {
        std::optional<int64_t> before;
        last_use.each([&](const Row& row) { before = row.integer(0); }, key);
        if (before && *before < time - kTouchSeconds) touch_.run(key, time);
        const auto parsed = CacheKey::from_hex(key);
        if (before || !parsed) continue;
        const auto row = read_object_row(object_path(folder_, *parsed));
        if (row && row->key == *parsed) add_row(add_, *row);
    }
    transaction.commit();
}

std::vector<ObjectRow> Index::objects(std::string_view kernel) {
    std::vector<ObjectRow> found;
    Statement select = database_.prepare(
        "SELECT key, bytes, compile_ms, kernel, parts, created, used FROM objects "
        "WHERE ?1 = '' OR kernel = ?1 ORDER BY created, rowid");
    select.each(
        [&](const Row& row) {
            const auto key = CacheKey::from_hex(row.text(0));
            const auto parts = parts_in(row.text(4));
            if (!key || !parts) return;
            found.push_back({*key, static_cast<uint64_t>(row.integer(1)), row.real(2), row.text(3),
                             *parts, row.integer(5), row.integer(6)});
        },
        kernel);
    return found;
}

std::vector<ObjectUse> Index::longest_unused(int limit) {
    std::vector<ObjectUse> found;
    database_.prepare("SELECT key, bytes, used FROM objects ORDER BY used, rowid LIMIT ?1")
        .each(
            [&](const Row& row) {
                if (const auto key = CacheKey::from_hex(row.text(0)))
                    found.push_back({*key, static_cast<uint64_t>(row.integer(1)), row.integer(2)});
            },
            limit);
    return found;
}

std::string Index::integrity_problem() {
    std::string problem;
    database_.prepare("PRAGMA integrity_check(1)").each([&](const Row& row) {
        if (row.text(0) != "ok") problem = row.text(0);
    });
    return problem;
}

uint64_t Index::object_bytes() {
    return static_cast<uint64_t>(database_.integer("SELECT bytes FROM totals"));
}
uint64_t Index::object_count() {
    return static_cast<uint64_t>(database_.integer("SELECT objects FROM totals"));
}

void Index::count(const std::unordered_map<std::string, double>& increments) {
    Statement add = database_.prepare(
        "INSERT INTO counters VALUES (?1, ?2) "
        "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value");
    Transaction transaction(database_);
    for (const auto& [name, value] : increments)
        if (value != 0) add.run(name, value);
    transaction.commit();
}

std::unordered_map<std::string, double> Index::counters() {
    std::unordered_map<std::string, double> found;
    database_.prepare("SELECT name, value FROM counters").each([&](const Row& row) {
        found[row.text(0)] = row.real(1);
    });
    return found;
}

std::optional<CacheKey> Index::model(const std::string& stat) {
    std::optional<CacheKey> identity;
    database_.prepare("SELECT identity FROM models WHERE stat = ?1")
        .each([&](const Row& row) { identity = CacheKey::from_hex(row.text(0)); }, stat);
    return identity;
}

void Index::set_model(const std::string& stat, const CacheKey& identity) {
    database_.prepare("INSERT OR REPLACE INTO models VALUES (?1, ?2)").run(stat, identity.hex());
}

void Index::mark_damaged(const std::filesystem::path& folder) {
    const FileHandle mark(
        ::open((folder / "index.damaged").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

FileHandle lock_index(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / "index.lock";
    FileHandle lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock || !lock_within(lock, LOCK_SH, std::chrono::milliseconds(kOpenBusyMs)))
        throw DatabaseError(fmt::format("{}: {}", path.string(), std::strerror(errno)), 0);
    return lock;
}

std::optional<ObjectRow> read_object_row(const std::filesystem::path& path) {
    struct stat status;
    const auto info = read_object_info(path, status);
    return info ? std::optional(row_of(*info, status.st_mtime)) : std::nullopt;
}

void each_object(const std::filesystem::path& folder,
                 const std::function<void(const ObjectInfo&)>& use) {
    each_object_file(folder, [&](const CacheKey& key, const std::filesystem::path& path) {
        struct stat status;
        const auto info = read_object_info(path, status);
        if (info && info->key == key) use(*info);
    });
}

void each_object(const Bundle& bundle, const std::function<void(const ObjectInfo&)>& use) {
    for (const BundleMember& member : bundle.members()) try {
            if (!member.is_object()) continue;
            if (const auto info = decode_object_info(bundle.read(member))) use(*info);
        } catch (const CacheError&) {  // a damaged member: said when it is asked for
        }
}

std::string object_name(const CacheKey& key) {
    const std::string name = key.hex();
    return fmt::format("objects/{}/{}", name.substr(0, 2), name);
}

std::filesystem::path object_path(const std::filesystem::path& folder, const CacheKey& key) {
    return folder / object_name(key);
}

void each_object_file(
    const std::filesystem::path& folder,
    const std::function<void(const CacheKey& key, const std::filesystem::path& path)>& use) {
    for (const auto& shelf : list_folder(folder / "objects"))
        for (const auto& path : list_folder(shelf))
            if (const auto key = CacheKey::from_hex(path.filename().string())) use(*key, path);
}

}  // namespace hetune
