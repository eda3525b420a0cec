#include "runtime/compile/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "runtime/compile/signal_action.h"

namespace hetune {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr rlim_t kMaxMemory = RLIM_INFINITY;  // its shadow alone takes terabytes of addresses
#else
constexpr rlim_t kMaxMemory = rlim_t{16} << 30;  // a compile that needs more has gone wrong
#endif
constexpr int kNotStarted = 127;  // as a shell ends

// Lowers the soft and the hard limit to `most`, where they are above it. A lower limit of the user
// holds: only a process with rights could raise it again.
void lower_limit(decltype(RLIMIT_AS) resource, rlim_t most) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0) return;
    limit.rlim_cur = std::min(limit.rlim_cur, most);
    limit.rlim_max = std::min(limit.rlim_max, most);
    setrlimit(resource, &limit);
}

// The child's side of vfork: system calls only, since memory is the parent's, whose thread waits.
[[noreturn]] void become(char* const* argv, char* const* environment,
                         const ChildProcess::Ends& ends, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kNotStarted);  // the parent died before the line above
    setpgid(0, 0);
    dup2(ends.in, 0);
    dup2(ends.out, 1);
    dup2(ends.err, 2);
    lower_limit(RLIMIT_AS, kMaxMemory);
    lower_limit(RLIMIT_CORE, 0);
    set_signal(SIGPIPE, SIG_DFL);
    set_signal(SIGXFSZ, SIG_IGN);  // a write beyond `ulimit -f` fails with EFBIG
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(argv[0], argv, environment);
    _exit(kNotStarted);
}

std::string variable(const char* name, const char* fallback) {
    const char* value = std::getenv(name);
    return fmt::format("{}={}", name, value != nullptr && *value != '\0' ? value : fallback);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (const std::string& text : texts) list.push_back(const_cast<char*>(text.c_str()));
    list.push_back(nullptr);
    return list;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& argv, const Ends& ends,
                           const std::string& temp_folder,
                           const std::vector<std::string>& settings) {
    std::vector<std::string> variables = settings;
    variables.push_back(variable("PATH", "/usr/bin:/bin"));
    variables.push_back("LC_ALL=C");
    variables.push_back("AMD_COMGR_CACHE=0");
    variables.push_back(temp_folder.empty() ? variable("TMPDIR", "/tmp") : "TMPDIR=" + temp_folder);
    const std::vector<char*> arguments = pointers(argv), environment = pointers(variables);
    const pid_t parent = getpid();
    // Signals wait: a handler in the child would run on this thread's memory. vfork, because fork
    // copies the page tables of some 20 GB of weights and may be refused for them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_ = vfork();
    if (pid_ == 0) become(arguments.data(), environment.data(), ends, parent);
    const int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (pid_ < 0)
        throw std::system_error(error, std::generic_category(), "cannot start another process");
}

ChildProcess::~ChildProcess() {
    if (ended_) return;
    kill();
    wait();
}

void ChildProcess::kill() {
    if (ended_) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);  // it may not have made its process group yet
}

const ChildExit& ChildProcess::wait() {
    if (ended_) return exit_;
    // Whatever it started ends with it. While it is not reaped, its number is no other group's.
    siginfo_t info{};
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    ::kill(-pid_, SIGKILL);
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    ended_ = true;
    if (WIFEXITED(status)) {
        exit_.exit_code = WEXITSTATUS(status);
        exit_.outcome = fmt::format("exit code {}", exit_.exit_code);
    }
    if (WIFSIGNALED(status)) {
        exit_.signal = WTERMSIG(status);
        exit_.outcome = fmt::format("signal {} ({})", exit_.signal, strsignal(exit_.signal));
    }
    return exit_;
}

bool ChildProcess::wait_until(std::chrono::steady_clock::time_point deadline) const {
    constexpr auto kAskAgain = std::chrono::milliseconds(1);
    for (;;) {
        siginfo_t info{};
        const int failed =
            waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
        if (ended_ || failed != 0 || info.si_pid != 0) return true;
        if (std::chrono::steady_clock::now() >= deadline) return false;
        std::this_thread::sleep_for(kAskAgain);
    }
}

void Descriptor::close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
}

Channel Channel::make() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        throw std::system_error(errno, std::generic_category(), "cannot talk to another process");
    for (int& end : ends) {
        if (end > 2) continue;
        const int above = fcntl(end, F_DUPFD_CLOEXEC, 3);
        if (above >= 0) ::close(std::exchange(end, above));
    }
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

}  // namespace hetune
