// The pool of compile workers, with a worker that fails on command (fake_worker.cc).
#include "runtime/compile/worker_pool.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/compile/child.h"
#include "runtime/compile/pressure.h"

namespace hetune::testing {
namespace {

using Cause = WorkerFailure::Cause;
using std::chrono::milliseconds;

WorkerPool::Options options(int most = 2, milliseconds limit = milliseconds(20000)) {
    return {.argv = {HETUNE_FAKE_WORKER, "fake", "library"},
            .settings = {"EXTRA=1"},
            .limit = limit,
            .most = [most] { return most; }};
}

WorkerMessage ask(WorkerPool& pool, const std::string& source) {
    return pool.call({{{"do", "compile"}}, source});
}

WorkerFailure failure_of(WorkerPool& pool, const std::string& source) {
    try {
        ask(pool, source);
    } catch (const WorkerFailure& failure) {
        return failure;
    }
    FAIL("no failure for ", source);
    return {Cause::kCrash, 0, "", ""};
}

TEST_CASE("a worker is started when the first request comes, and is used again") {
    WorkerPool pool(options());
    CHECK(pool.running().empty());
    CHECK(ask(pool, "one").body == "one");
    const auto first = pool.running();
    CHECK(first.size() == 1);
    CHECK(ask(pool, "two").body == "two");
    CHECK(pool.running() == first);
}

TEST_CASE("a request far larger than a socket's buffer comes back whole") {
    WorkerPool pool(options());
    std::string large(30 << 20, 'a');
    for (size_t i = 0; i < large.size(); i += 4097) large[i] = static_cast<char>(i);
    CHECK(ask(pool, large).body == large);
}

TEST_CASE("a worker that dies gives its signal and its last words, and the pool goes on") {
    WorkerPool pool(options());
    for (const auto& [source, signal] :
         {std::pair{"abort", SIGABRT}, {"segfault", SIGSEGV}, {"exit", 0}}) {
        CAPTURE(source);
        const WorkerFailure failure = failure_of(pool, source);
        CHECK(failure.cause() == Cause::kCrash);
        CHECK(failure.signal() == signal);
        CHECK(failure.log().find(std::string("LLVM ERROR: asked to ") + source) == 0);
        CHECK(pool.running().empty());
        CHECK(ask(pool, "next").body == "next");
    }
    CHECK(std::string(failure_of(pool, "abort").what()) == "signal 6 (Aborted)");
    CHECK(std::string(failure_of(pool, "exit").what()) == "exit code 3");
}

TEST_CASE("a worker that does not answer in time is killed") {
    WorkerPool pool(options(1, milliseconds(300)));
    const WorkerFailure failure = failure_of(pool, "hang");
    CHECK(failure.cause() == Cause::kTimeout);
    CHECK(std::string(failure.what()) == "no answer in 0.3 s; killed");
    CHECK(pool.running().empty());
    CHECK(ask(pool, "next").body == "next");
}

TEST_CASE("an answer that is no message is a failure of that worker only") {
    WorkerPool pool(options());
    for (const char* source : {"garbage", "lie"}) {
        const WorkerFailure failure = failure_of(pool, source);
        CHECK(failure.cause() == Cause::kCrash);
        CHECK(std::string(failure.what()).find("it answered with garbage") == 0);
    }
    CHECK(std::string(failure_of(pool, "silent").what()).find("closed its output") !=
          std::string::npos);
    CHECK(ask(pool, "next").body == "next");
}

#ifndef __SANITIZE_ADDRESS__
TEST_CASE("a worker that eats memory hits its limit, not the machine's") {
    WorkerPool pool(options());
    CHECK(failure_of(pool, "memory").signal() == SIGABRT);  // std::bad_alloc
}
#endif

TEST_CASE("a worker killed while idle, or at work by someone else, is replaced without a word") {
    WorkerPool pool(options(1));
    ask(pool, "one");
    kill(pool.running().front(), SIGKILL);
    CHECK(ask(pool, "two").body == "two");

    std::jthread killer([&pool](const std::stop_token& done) {
        while (!done.stop_requested()) {
            std::this_thread::sleep_for(milliseconds(50));
            for (const pid_t pid : pool.running()) kill(pid, SIGKILL);
        }
    });
    CHECK(failure_of(pool, "hang").cause() == Cause::kKilled);  // again and again
}

TEST_CASE("no more workers run than are allowed, however many ask") {
    WorkerPool pool(options(2));
    std::atomic<size_t> most = 0;
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 8; ++t)
            threads.emplace_back([&] {
                for (int i = 0; i < 20; ++i) {
                    ask(pool, "x");
                    const size_t now = pool.running().size();
                    for (size_t seen = most;
                         now > seen && !most.compare_exchange_weak(seen, now);) {
                    }
                }
            });
    }
    CHECK(most == 2);
}

TEST_CASE("a worker outlives the thread that asked first, and ends with the pool") {
    pid_t pid = 0;
    {
        WorkerPool pool(options());
        std::thread([&] { ask(pool, "one"); }).join();
        pid = pool.running().front();
        std::this_thread::sleep_for(milliseconds(100));
        CHECK(ask(pool, "two").body == "two");
        CHECK(pool.running().front() == pid);
    }
    CHECK(kill(pid, 0) != 0);
}

TEST_CASE("a worker dies with the process that started it") {
    int result[2];
    REQUIRE(pipe(result) == 0);
    const pid_t parent = fork();
    if (parent == 0) {
        WorkerPool pool(options());
        ask(pool, "one");
        const pid_t worker = pool.running().front();
        (void)!write(result[1], &worker, sizeof worker);
        kill(getpid(), SIGKILL);
    }
    pid_t worker = 0;
    REQUIRE(read(result[0], &worker, sizeof worker) == sizeof worker);
    for (int i = 0; i < 200 && kill(worker, 0) == 0; ++i) {
        // An orphan that nobody reaps stays as a zombie: state Z.
        std::ifstream status("/proc/" + std::to_string(worker) + "/stat");
        std::string number, name, state;
        if (status >> number >> name >> state && state == "Z") break;
        std::this_thread::sleep_for(milliseconds(10));
        CHECK(i < 199);
    }
    close(result[0]);
    close(result[1]);
}

TEST_CASE("workers see a clean environment and a temporary folder of their own") {
    setenv("HIPCC_COMPILE_FLAGS_APPEND", "-O0", 1);
    setenv("AMD_COMGR_SAVE_TEMPS", "1", 1);
    std::string folder;
    {
        WorkerPool pool(options());
        const std::string seen = ask(pool, "environment").body;
        CHECK(seen.find("HIPCC") == std::string::npos);
        CHECK(seen.find("SAVE_TEMPS") == std::string::npos);
        CHECK(seen.find("AMD_COMGR_CACHE=0\n") != std::string::npos);
        CHECK(seen.find("EXTRA=1\n") != std::string::npos);
        const size_t at = seen.find("TMPDIR=") + 7;
        folder = seen.substr(at, seen.find('\n', at) - at);
        CHECK(std::filesystem::is_directory(folder));
        CHECK(folder.find("/hetune-") != std::string::npos);
    }
    CHECK_FALSE(std::filesystem::exists(folder));
    unsetenv("HIPCC_COMPILE_FLAGS_APPEND");
    unsetenv("AMD_COMGR_SAVE_TEMPS");
}

TEST_CASE("a program that cannot be run is a failure, not a hang") {
    WorkerPool::Options missing = options();
    missing.argv[0] = "/no/such/program";
    WorkerPool pool(missing);
    CHECK(std::string(failure_of(pool, "x").what()) == "exit code 127");
}

TEST_CASE("pressure lowers the number of compiles at once, and never below one") {
    CHECK(compiles_at_once(8, {}) == 8);
    CHECK(compiles_at_once(8, {.cpu_some = 95}) == 4);
    CHECK(compiles_at_once(1, {.cpu_some = 95}) == 1);
    CHECK(compiles_at_once(8, {.memory_some = 25}) == 1);
    CHECK(compiles_at_once(8, {.memory_full = 5}) == 1);
    CHECK(compiles_at_once(0, {}) == 1);
}

TEST_CASE("pressure is read as the kernel writes it, and absent files mean none") {
    const ScratchFolder folder;
    std::ofstream(folder.path() + "/cpu") << "some avg10=81.25 avg60=1.00 avg300=0.00 total=1\n"
                                             "full avg10=3.00 avg60=0.00 avg300=0.00 total=0\n";
    std::ofstream(folder.path() + "/memory") << "some avg10=7.00 avg60=0.00 avg300=0.00 total=1\n"
                                                "full avg10=1.50 avg60=0.00 avg300=0.00 total=0\n";
    const Pressure pressure = read_pressure(folder.path());
    CHECK(pressure.cpu_some == 81.25);
    CHECK(pressure.memory_some == 7);
    CHECK(pressure.memory_full == 1.5);
    CHECK(read_pressure("/no/such/folder").cpu_some == 0);
}

}  // namespace
}  // namespace hetune::testing
