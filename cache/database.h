// A thin owner of one SQLite connection and its prepared statements.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "cache/error.h"

namespace hetune {

class DatabaseError : public CacheError {
  public:
    DatabaseError(const std::string& what, int code) : CacheError(what), code_(code) {}
    bool busy() const { return code_ == SQLITE_BUSY || code_ == SQLITE_LOCKED; }
    bool damaged() const { return code_ == SQLITE_CORRUPT || code_ == SQLITE_NOTADB; }
    bool full() const { return code_ == SQLITE_FULL; }
    bool wrong_sql() const { return code_ == SQLITE_ERROR; }  // no such table, no such column

  private:
    int code_;  // primary result code of SQLite
};

struct CloseDatabase {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

// The current row of a running statement.
class Row {
  public:
    explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
    int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
    double real(int column) const { return sqlite3_column_double(statement_, column); }
    std::string text(int column) const;

  private:
    sqlite3_stmt* statement_;
};

class Statement {
  public:
    Statement(sqlite3* database, std::string_view sql);

    // Binds all parameters in order, runs to the end, calls `use(row)` for each row, and resets
    // the statement whatever happens, so that no read transaction stays open.
    template <class Use, class... Args>
    void each(const Use& use, const Args&... args) {
        const Reset reset{statement_.get()};
        int index = 0;
        (bind(++index, args), ...);
        while (step()) use(Row(statement_.get()));
    }

    template <class... Args>
    void run(const Args&... args) {
        each([](const Row&) {}, args...);
    }

  private:
    struct Reset {
        sqlite3_stmt* statement;
        ~Reset() { sqlite3_reset(statement); }
    };
    void bind(int index, int64_t value);
    void bind(int index, uint64_t value) { bind(index, static_cast<int64_t>(value)); }
    void bind(int index, int value) { bind(index, static_cast<int64_t>(value)); }
    void bind(int index, double value);
    void bind(int index, std::string_view value);  // must outlive the run
    bool step();

    std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement_;
};

class Database {
  public:
    // Opens or makes the file. Not thread-safe: the owner serialises.
    Database(const std::filesystem::path& path, int busy_ms);

    Statement prepare(std::string_view sql) { return {handle_.get(), sql}; }
    void execute(const std::string& sql);   // several statements, no result
    int64_t integer(std::string_view sql);  // the first column of the first row, or 0
    int changes() const { return sqlite3_changes(handle_.get()); }

  private:
    std::unique_ptr<sqlite3, CloseDatabase> handle_;
};

// BEGIN IMMEDIATE, so that a later write cannot meet SQLITE_BUSY half-way; rolled back unless
// committed.
class Transaction {
  public:
    explicit Transaction(Database& database) : database_(database) {
        database_.execute("BEGIN IMMEDIATE");
    }
    ~Transaction();
    void commit();

  private:
    Database& database_;
    bool open_ = true;
};

}  // namespace hetune
