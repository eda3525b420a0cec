// Child processes and their folders: nothing of them stays when this process dies.
#include "runtime/compile/child.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "runtime/compile/child_process.h"

namespace hetune::testing {
namespace {

namespace fs = std::filesystem;

// Sets a variable for the life of this object.
class Setting {
  public:
    Setting(const char* name, const std::string& value) : name_(name) {
        if (const char* old = std::getenv(name)) old_ = old;
        setenv(name, value.c_str(), 1);
    }
    ~Setting() { old_.empty() ? unsetenv(name_) : setenv(name_, old_.c_str(), 1); }
    Setting(const Setting&) = delete;
    Setting& operator=(const Setting&) = delete;

  private:
    const char* name_;
    std::string old_;
};

// Whether `pid` is no process any more, or one that only its parent has not taken note of.
bool gone(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
    std::string number, name, state;
    return !(status >> number >> name >> state) || state == "Z" || state == "X";
}

bool goes_soon(pid_t pid) {
    for (int i = 0; i < 1000 && !gone(pid); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return gone(pid);
}

TEST_CASE("a scratch folder lies in the cache folder's tmp, whatever TMPDIR is") {
    const ScratchFolder root;
    const fs::path cache = fs::path(root.path()) / "cache";
    for (const char* bad : {"/nonexistent", "/proc", "", "/dev/null"}) {
        const Setting setting("TMPDIR", bad);
        const ScratchFolder folder(cache);
        CHECK(fs::path(folder.path()).parent_path() == cache / "tmp");
        CHECK(fs::is_directory(folder.path()));
    }
    CHECK(fs::is_empty(cache / "tmp"));
}

TEST_CASE("without a cache folder a scratch folder lies where there is one that can be written") {
    for (const char* bad : {"/nonexistent", "/proc", "/dev/null"}) {
        const Setting setting("TMPDIR", bad);
        const ScratchFolder folder;
        CHECK(fs::is_directory(folder.path()));
    }
    const ScratchFolder root;
    const Setting setting("TMPDIR", root.path());
    CHECK(fs::path(ScratchFolder().path()).parent_path() == root.path());
}

TEST_CASE("a scratch folder outlives its owner's SIGKILL only until the next sweep") {
    const ScratchFolder root;
    const fs::path cache = fs::path(root.path()) / "cache";
    const ScratchFolder mine(cache);
    const pid_t other = fork();
    if (other == 0) {
        const ScratchFolder left(cache);
        std::ofstream(left.path() + "/object") << "x";
        kill(getpid(), SIGKILL);
    }
    waitpid(other, nullptr, 0);
    CHECK(sweep_scratch_folders(cache / "tmp") == 1);
    CHECK(sweep_scratch_folders(cache / "tmp") == 0);
    CHECK(fs::is_directory(mine.path()));
}

TEST_CASE("a child may close its outputs and stay, and is ended in time") {
    const ScratchFolder folder;
    const ChildResult result = run_child({"/bin/sh", "-c", "exec >&- 2>&-; sleep 1000"}, "",
                                         std::chrono::milliseconds(300), folder.path());
    CHECK(result.timed_out);
    CHECK(result.signal == SIGKILL);
}

TEST_CASE("what a child leaves running ends with the child") {
    const ScratchFolder folder;
    const ChildResult result = run_child({"/bin/sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"},
                                         "", std::chrono::seconds(60), folder.path());
    CHECK(result.ok());
    CHECK(goes_soon(std::stoi(result.output)));
}

TEST_CASE("a child gets its input and outputs also where this process has closed 0, 1 and 2") {
    const ScratchFolder folder;
    const pid_t other = fork();
    if (other == 0) {
        for (const int closed : {0, 1, 2}) close(closed);
        const ChildResult result = run_child({"/bin/sh", "-c", "cat; echo error >&2"}, "input",
                                             std::chrono::seconds(60), folder.path());
        _exit(result.output == "input" && result.errors == "error\n" ? 0 : 1);
    }
    int status = 0;
    waitpid(other, &status, 0);
    CHECK(status == 0);
}

TEST_CASE("the guard ends as its program ends") {
    const ScratchFolder folder;
    auto guarded = [&](const std::string& commands) {
        return run_child({HETUNE_WORKER_PROGRAM, "--guard", "/bin/sh", "-c", commands}, "in",
                         std::chrono::seconds(60), folder.path());
    };
    CHECK(guarded("cat; exit 7").exit_code == 7);
    CHECK(guarded("cat; exit 0").output == "in");
    CHECK(guarded("kill -11 $$").signal == SIGSEGV);
    CHECK(guarded("kill -9 $$").signal == SIGKILL);
    CHECK(run_child({HETUNE_WORKER_PROGRAM, "--guard", "/no/such/program"}, "",
                    std::chrono::seconds(60), folder.path())
              .exit_code == 127);
}

TEST_CASE("a grandchild behind the guard dies with the process that started the child") {
    const ScratchFolder folder;
    const std::string note = folder.path() + "/pids";
    const pid_t parent = fork();
    if (parent == 0) {
        // The program, its child and its grandchild tell their numbers.
        run_child({HETUNE_WORKER_PROGRAM, "--guard", "/bin/sh", "-c",
                   "(sleep 1000 & echo $! $$ $PPID >" + note + ".new; mv " + note + ".new " + note +
                       "; sleep 1000)"},
                  "", std::chrono::minutes(10), folder.path());
        _exit(1);
    }
    while (!fs::exists(note)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    kill(parent, SIGKILL);
    waitpid(parent, nullptr, 0);
    std::ifstream pids(note);
    int count = 0;
    for (pid_t pid = 0; pids >> pid; ++count) CHECK(goes_soon(pid));
    CHECK(count == 3);
}

}  // namespace
}  // namespace hetune::testing
