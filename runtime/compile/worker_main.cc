// hetune-worker KIND LIBRARY: opens one compiler library and answers requests on stdin and stdout
// (worker_protocol.h) until its input ends. Started by WorkerPool, not by people.
//
// hetune-worker --guard PROGRAM ARGUMENTS: runs a program that starts programs of its own, as clang
// does, and ends as that program ends. When the parent dies, the kernel tells the guard alone, and
// the guard kills its whole process group.
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <set>
#include <system_error>

#include "runtime/compile/signal_action.h"
#include "runtime/compile/worker/library.h"
#include "runtime/compile/worker_protocol.h"

namespace hetune::worker {
namespace {

constexpr size_t kMaxLog = 512 << 10;

std::set<std::string> loaded_files() {
    std::set<std::string> files;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* into) {
            if (info->dlpi_name != nullptr && info->dlpi_name[0] == '/')
                static_cast<std::set<std::string>*>(into)->insert(info->dlpi_name);
            return 0;
        },
        &files);
    return files;
}

std::string shorten(std::string log) {
    if (log.size() > kMaxLog) log.resize(kMaxLog);
    return log;
}

class Service {
  public:
    Service(const std::string& kind, const std::string& path) : own_files_(loaded_files()) {
        const auto found = std::ranges::find(library_kinds(), kind, &LibraryKind::name);
        try {
            if (found == library_kinds().end())
                throw std::runtime_error(fmt::format("this worker knows no '{}'", kind));
            library_ = found->open(path);
        } catch (const std::runtime_error& error) {
            trouble_ = error.what();
        }
    }

    WorkerMessage answer(const WorkerMessage& request) {
        if (library_ == nullptr) return {{{"status", "unavailable"}, {"error", trouble_}}, {}};
        try {
            Compiled result = library_->compile({.entry = request.header.at("entry"),
                                                 .arch = request.header.at("arch"),
                                                 .options = request.header.at("options"),
                                                 .text = request.body});
            if (request.header.at("do") == "describe") return describe();
            return {{{"status", "done"}, {"log", shorten(result.log)}}, std::move(result.object)};
        } catch (const Refused& refused) {
            return failed(refused.of_source(), refused.what(), refused.log());
        } catch (const std::exception& error) {
            return failed(false, error.what(), {});
        }
    }

  private:
    static WorkerMessage failed(bool of_source, const std::string& line, const std::string& log) {
        return {{{"status", of_source ? "failed" : "broke"},
                 {"error", shorten(line)},
                 {"log", shorten(log)}},
                {}};
    }

    // After a compile, because that may load more: the files that came besides this program's own.
    WorkerMessage describe() {
        std::vector<std::string> files;
        std::ranges::set_difference(loaded_files(), own_files_, std::back_inserter(files));
        return {{{"status", "done"}, {"version", library_->version()}, {"loaded", files}}, {}};
    }

    std::set<std::string> own_files_;
    std::unique_ptr<Library> library_;
    std::string trouble_;
};

int serve(const std::string& kind, const std::string& path) {
    // What a library prints goes to the log, not into the conversation.
    const int talk = fcntl(0, F_DUPFD_CLOEXEC, 3);
    dup2(2, 1);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, 0);

    Service service(kind, path);
    MessageReader reader;
    while (const auto request = receive_message(talk, reader))
        send_message(talk, service.answer(*request));
    return 0;
}

// Calls only what a signal handler and the child of a fork may call.
int guard(char** command) {
    if (getpgrp() != getpid()) setpgid(0, 0);  // the group below holds nobody else
    set_signal(SIGTERM, [](int) { kill(0, SIGKILL); });
    // Until here the parent's death killed this process, which had not started anything.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    const pid_t self = getpid();
    const pid_t child = fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
        set_signal(SIGTERM, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == self) execv(command[0], command);
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    set_signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}

}  // namespace
}  // namespace hetune::worker

int main(int argc, char** argv) {
    try {
        if (argc > 2 && std::string_view(argv[1]) == "--guard")
            _exit(hetune::worker::guard(argv + 2));
        if (argc != 3) throw std::runtime_error("usage: hetune-worker KIND LIBRARY");
        // No destructors of a compiler library: they have nothing to save and crash at times.
        _exit(hetune::worker::serve(argv[1], argv[2]));
    } catch (const std::exception& error) {
        fmt::print(stderr, "hetune-worker: {}\n", error.what());
        return 1;
    }
}
