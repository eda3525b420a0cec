#include "runtime/compile/child_process.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace hetune {
namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr rlim_t kMaxMemory = RLIM_INFINITY;  // its shadow alone takes terabytes of addresses
#else
constexpr rlim_t kMaxMemory = rlim_t{16} << 30;  // a compile that needs more has gone wrong
#endif

// Between fork and exec only async-signal-safe calls are allowed.
[[noreturn]] void become(char* const* argv, char* const* environment,
                         const ChildProcess::Ends& ends) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);
    dup2(ends.in, 0);
    dup2(ends.out, 1);
    dup2(ends.err, 2);
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
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
    if (pid_ == 0) become(arguments.data(), environment.data(), ends);
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

void Descriptor::close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
}

Channel Channel::make() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        throw std::runtime_error(fmt::format("socketpair: {}", std::strerror(errno)));
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

}  // namespace hetune
