#include "cache/database.h"

#include <fmt/format.h>

#include <cerrno>

namespace hetune {
namespace {

[[noreturn]] void fail(sqlite3* database, std::string_view what) {
    int code = sqlite3_errcode(database) & 0xff;
    // A full disk is an I/O error where SQLite was about to enlarge its shared memory.
    if (code == SQLITE_IOERR && sqlite3_system_errno(database) == ENOSPC) code = SQLITE_FULL;
    const char* file = sqlite3_db_filename(database, "main");
    throw DatabaseError(fmt::format("{}, the index of the cache: {} ({}); `hetune cache verify "
                                    "--repair` mends it where it is damaged",
                                    file != nullptr && *file != '\0' ? file : "index.db",
                                    sqlite3_errmsg(database), what),
                        code);
}

sqlite3* handle_of(sqlite3_stmt* statement) { return sqlite3_db_handle(statement); }

}  // namespace

std::string Row::text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return text == nullptr ? std::string() : std::string(text);
}

Statement::Statement(sqlite3* database, std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v3(database, sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK)
        fail(database, sql);
    statement_.reset(statement);
}

void Statement::bind(int index, int64_t value) {
    if (sqlite3_bind_int64(statement_.get(), index, value) != SQLITE_OK)
        fail(handle_of(statement_.get()), "bind");
}

void Statement::bind(int index, double value) {
    if (sqlite3_bind_double(statement_.get(), index, value) != SQLITE_OK)
        fail(handle_of(statement_.get()), "bind");
}

void Statement::bind(int index, std::string_view value) {
    const char* text = value.data() == nullptr ? "" : value.data();  // nullptr would be NULL
    if (sqlite3_bind_text(statement_.get(), index, text, static_cast<int>(value.size()),
                          SQLITE_STATIC) != SQLITE_OK)
        fail(handle_of(statement_.get()), "bind");
}

bool Statement::step() {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) fail(handle_of(statement_.get()), sqlite3_sql(statement_.get()));
    return false;
}

Database::Database(const std::filesystem::path& path, int busy_ms) {
    sqlite3* database = nullptr;
    const int code =
        sqlite3_open_v2(path.c_str(), &database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    handle_.reset(database);
    if (code != SQLITE_OK) {
        if (database == nullptr) throw DatabaseError("index: out of memory", SQLITE_NOMEM);
        fail(database, path.string());
    }
    sqlite3_busy_timeout(database, busy_ms);
}

void Database::execute(const std::string& sql) {
    if (sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
        fail(handle_.get(), sql);
}

int64_t Database::integer(std::string_view sql) {
    int64_t value = 0;
    prepare(sql).each([&](const Row& row) { value = row.integer(0); });
    return value;
}

Transaction::~Transaction() {
    if (!open_) return;
    try {
        database_.execute("ROLLBACK");
    } catch (const DatabaseError&) {  // SQLite has already rolled back (a full disk, an I/O error)
    }
}

void Transaction::commit() {
    database_.execute("COMMIT");
    open_ = false;
}

}  // namespace hetune
