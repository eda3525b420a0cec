#include "runtime/compile/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace hetune {
namespace {

using Clock = std::chrono::steady_clock;

constexpr rlim_t kMaxMemory = rlim_t{16} << 30;  // a compile that needs more has gone wrong
constexpr size_t kMaxOutput = size_t{256} << 20;

struct Pipe {
    int read = -1, write = -1;
    Pipe() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0)
            throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
        read = ends[0];
        write = ends[1];
    }
    ~Pipe() {
        close_read();
        close_write();
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    void close_read() { shut(read); }
    void close_write() { shut(write); }

  private:
    static void shut(int& end) {
        if (end >= 0) close(end);
        end = -1;
    }
};

// Between fork and exec only async-signal-safe calls are allowed.
[[noreturn]] void become(char* const* argv, char* const* environment, int in, int out, int err) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    const rlimit memory{kMaxMemory, kMaxMemory};
    setrlimit(RLIMIT_AS, &memory);
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(argv[0], argv, environment);
    _exit(127);
}

// Appends what is there; closes at the end of the stream.
void drain(Pipe& pipe, std::string& to) {
    char chunk[65536];
    const ssize_t count = read(pipe.read, chunk, sizeof chunk);
    if (count > 0 && to.size() < kMaxOutput) to.append(chunk, static_cast<size_t>(count));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) pipe.close_read();
}

// Gives `input` and takes both outputs until they end; false when time is up.
bool converse(Pipe& in, Pipe& out, Pipe& err, const std::string& input, ChildResult& result,
              Clock::time_point deadline) {
    size_t given = 0;
    if (input.empty()) in.close_write();
    while (out.read >= 0 || err.read >= 0) {
        pollfd ends[3] = {{in.write, POLLOUT, 0}, {out.read, POLLIN, 0}, {err.read, POLLIN, 0}};
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) return false;
        const int ready = poll(ends, 3, static_cast<int>(std::min<int64_t>(left.count(), 1000)));
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        if (ends[0].revents != 0) {
            const ssize_t count = write(in.write, input.data() + given, input.size() - given);
            if (count > 0) given += static_cast<size_t>(count);
            const bool refused = count < 0 && errno != EAGAIN && errno != EINTR;
            if (given == input.size() || refused) in.close_write();
        }
        if (ends[1].revents != 0) drain(out, result.output);
        if (ends[2].revents != 0) drain(err, result.errors);
    }
    return true;
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& argv, const std::string& input,
                      std::chrono::milliseconds limit) {
    const char* path = std::getenv("PATH");
    const char* tmp = std::getenv("TMPDIR");
    std::vector<std::string> settings = {
        fmt::format("PATH={}", path != nullptr ? path : "/usr/bin:/bin"), "LC_ALL=C",
        fmt::format("TMPDIR={}", tmp != nullptr ? tmp : "/tmp"), "AMD_COMGR_CACHE=0"};
    std::vector<char*> arguments, environment;
    for (const std::string& arg : argv) arguments.push_back(const_cast<char*>(arg.c_str()));
    for (std::string& setting : settings) environment.push_back(setting.data());
    arguments.push_back(nullptr);
    environment.push_back(nullptr);

    ChildResult result;
    Pipe in, out, err;
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
    if (child == 0) become(arguments.data(), environment.data(), in.read, out.write, err.write);
    in.close_read();
    out.close_write();
    err.close_write();
    fcntl(in.write, F_SETFL, O_NONBLOCK);

    result.timed_out = !converse(in, out, err, input, result, Clock::now() + limit);
    if (result.timed_out) kill(-child, SIGKILL);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
    if (result.timed_out)
        result.outcome = fmt::format("no answer in {} s; killed", limit.count() / 1000.0);
    else if (result.signal != 0)
        result.outcome = fmt::format("signal {} ({})", result.signal, strsignal(result.signal));
    else
        result.outcome = fmt::format("exit code {}", result.exit_code);
    return result;
}

TempFolder::TempFolder() {
    const char* tmp = std::getenv("TMPDIR");
    path_ = fmt::format("{}/hetune-XXXXXX", tmp != nullptr && *tmp != '\0' ? tmp : "/tmp");
    if (mkdtemp(path_.data()) == nullptr)
        throw std::runtime_error(fmt::format("cannot make a temporary folder {}: {}", path_,
                                             std::strerror(errno)));
}

TempFolder::~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

}  // namespace hetune
