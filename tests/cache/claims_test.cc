#include "cache/claims.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "cache/code_store.h"
#include "tests/cache/child_process.h"
#include "tests/cache/samples.h"
#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

constexpr int kProcesses = 16;
constexpr int kKeys = 24;
using Milliseconds = std::chrono::milliseconds;

// One line per compile, appended atomically by all processes.
void log_compile(const std::filesystem::path& log, int number) {
    const FileHandle file(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    const std::string line = std::to_string(number) + "\n";
    if (write(file.get(), line.data(), line.size()) < 0) throw std::runtime_error("no log");
}

std::multiset<int> logged(const std::filesystem::path& log) {
    std::ifstream file(log);
    return {std::istream_iterator<int>(file), {}};
}

// Starts all processes at one moment on an empty cache; returns how often each key was made.
std::multiset<int> cold_race(std::optional<bool> local_disk) {
    TestFolder folder;
    const auto log = folder.path() / "compiles";
    int gate[2];
    REQUIRE(pipe(gate) == 0);
    std::vector<pid_t> children;
    for (int p = 0; p < kProcesses; ++p)
        children.push_back(start_child([&] {
            close(gate[1]);
            char byte;
            if (read(gate[0], &byte, 1) != 0) return 98;  // returns when the parent closes it
            CodeStore store({.folder = folder.path() / "cache", .local_disk = local_disk});
            for (int i = 0; i < kKeys; ++i) {
                const int number = (i + p) % kKeys;
                const CodeObject code =
                    store.get_or_make(sample_key(number), sample_parts(number), [&] {
                        log_compile(log, number);
                        std::this_thread::sleep_for(Milliseconds(5));
                        return sample_object(number);
                    });
                if (code != sample_object(number)) return 1;
            }
            return 0;
        }));
    close(gate[0]);
    close(gate[1]);
    for (const pid_t child : children) CHECK(wait_for_child(child) == 0);
    return logged(log);
}

std::multiset<int> each_once() {
    std::multiset<int> all;
    for (int i = 0; i < kKeys; ++i) all.insert(i);
    return all;
}

TEST_CASE("16 processes that start together on an empty cache make each key exactly once") {
    CHECK(cold_race({}) == each_once());
}

TEST_CASE("16 processes make each key exactly once where the file system has no locks") {
    CHECK(cold_race(false) == each_once());
}

TEST_CASE("Threads of one process make each key once, in memory as well as on disk") {
    TestFolder folder;
    for (const auto& place : {std::filesystem::path(), folder.path()}) {
        CodeStore store({.folder = place});
        std::atomic<int> made = 0;
        {
            std::vector<std::jthread> threads;
            for (int t = 0; t < 8; ++t)
                threads.emplace_back([&] {
                    for (int i = 0; i < 5; ++i)
                        store.get_or_make(sample_key(i), {}, [&, i] {
                            ++made;
                            std::this_thread::sleep_for(Milliseconds(2));
                            return sample_object(i);
                        });
                });
        }
        CHECK(made == 5);
        CHECK(store.statistics().misses == 5);
        CHECK(store.statistics().hits == 35);
    }
}

TEST_CASE("A maker that is killed leaves its key to the next at once") {
    for (const bool local_disk : {true, false}) {
        TestFolder folder;
        int ready[2];
        REQUIRE(pipe(ready) == 0);
        const pid_t child = start_child([&] {
            CodeStore store({.folder = folder.path(), .local_disk = local_disk});
            store.get_or_make(sample_key(1), {}, [&] {
                if (write(ready[1], "x", 1) != 1) _exit(97);
                pause();
                return CodeObject();
            });
            return 0;
        });
        char byte;
        REQUIRE(read(ready[0], &byte, 1) == 1);
        CodeStore store({.folder = folder.path(), .local_disk = local_disk});
        CHECK_FALSE(store.claim(sample_key(1)).has_value());
        CHECK_FALSE(store.wait(sample_key(1), Milliseconds(50)));
        kill(child, SIGKILL);
        CHECK(wait_for_child(child) == 128 + SIGKILL);
        CHECK(store.wait(sample_key(1), Milliseconds(5000)));
        CHECK(store.claim(sample_key(1)).has_value());
        close(ready[0]);
        close(ready[1]);
    }
}

TEST_CASE("A maker that is stopped is named, and not waited for without end") {
    for (const bool local_disk : {true, false}) {
        TestFolder folder;
        int ready[2];
        REQUIRE(pipe(ready) == 0);
        const pid_t child = start_child([&] {
            CodeStore store({.folder = folder.path(), .local_disk = local_disk});
            store.get_or_make(sample_key(1), {}, [&] {
                if (write(ready[1], "x", 1) != 1) _exit(97);
                raise(SIGSTOP);
                return sample_object(1);
            });
            return 0;
        });
        char byte;
        REQUIRE(read(ready[0], &byte, 1) == 1);
        Warnings warnings;
        CodeStore store({.folder = folder.path(),
                         .local_disk = local_disk,
                         .patience = {Milliseconds(1), Milliseconds(50)},
                         .warn = warnings.function()});
        const CodeObject code =
            store.get_or_make(sample_key(1), sample_parts(1), [] { return sample_object(1); });
        CHECK(code == sample_object(1));
        const std::string said = fmt::format("process {}, which is compiling gemv", child);
        CHECK(std::ranges::any_of(warnings.list(), [&](const std::string& line) {
            return line.find(said) != std::string::npos;
        }));
        kill(child, SIGKILL);
        CHECK(wait_for_child(child) == 128 + SIGKILL);
        close(ready[0]);
        close(ready[1]);
    }
}

TEST_CASE("A maker that throws tells its caller and lets the next one try") {
    TestFolder folder;
    CodeStore store({.folder = folder.path()});
    CHECK_THROWS_WITH(store.get_or_make(sample_key(1), {},
                                        []() -> CodeObject { throw std::runtime_error("broken"); }),
                      "broken");
    CHECK(store.get_or_make(sample_key(1), {}, [] { return sample_object(1); }) ==
          sample_object(1));
}

TEST_CASE("Claim files of dead owners go when a store is opened, live ones stay") {
    TestFolder folder;
    CodeStore store({.folder = folder.path()});
    const auto claim = store.claim(sample_key(1));
    const auto claims = folder.path() / "claims";
    std::ofstream(claims / sample_key(2).hex()) << "left behind";
    const CodeStore other({.folder = folder.path()});
    CHECK(std::filesystem::exists(claims / sample_key(1).hex()));
    CHECK_FALSE(std::filesystem::exists(claims / sample_key(2).hex()));
}

TEST_CASE("A lease whose owner on another machine falls silent is taken over after kLease") {
    TestFolder folder;
    CodeStore store({.folder = folder.path(), .local_disk = false});
    Database(folder.path() / "index.db", 1000)
        .prepare("INSERT INTO claims VALUES (?1, 'another boot:pid:1:2', 7)")
        .run(sample_key(1).hex());
    CHECK_FALSE(store.wait(sample_key(1), Leases::kLease - std::chrono::seconds(1)));
    CHECK(store.wait(sample_key(1), std::chrono::seconds(3)));
}

TEST_CASE("A process is alive while it runs, and gone when another has its number") {
    CHECK(may_be_alive(process_identity()));
    std::string other = process_identity();
    other += "0";  // another start time
    CHECK_FALSE(may_be_alive(other));
    CHECK(may_be_alive("another boot:pid:[1]:1:1"));
}

}  // namespace
}  // namespace hetune
