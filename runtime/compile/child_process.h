// A child process that cannot harm this one: clean environment, memory limit, no core file, dies
// with its parent.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace hetune {

struct ChildExit {
    int exit_code = -1;  // -1: ended by a signal
    int signal = 0;
    std::string outcome;  // "exit code 1", "signal 6 (Aborted)"
};

class ChildProcess {
  public:
    // File descriptors of this process that become 0, 1 and 2 of the child.
    struct Ends {
        int in, out, err;
    };

    // Starts program argv[0] (a path). Its environment is PATH, LC_ALL=C, AMD_COMGR_CACHE=0,
    // TMPDIR (`temp_folder`, or ours) and `settings` ("NAME=value"); what else a compiler reads
    // would change its output behind the cache key's back. The kernel kills the child when the
    // *thread* that made it ends. Throws std::system_error when there can be no further process;
    // a program that cannot be run ends with exit code 127.
    ChildProcess(const std::vector<std::string>& argv, const Ends& ends,
                 const std::string& temp_folder = {},
                 const std::vector<std::string>& settings = {});
    ~ChildProcess();  // kills it
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    pid_t pid() const { return pid_; }
    // SIGKILL to it and to what it has started.
    void kill();
    // Blocks until it has ended.
    const ChildExit& wait();
    // False when it has not ended by then.
    bool wait_until(std::chrono::steady_clock::time_point deadline) const;

  private:
    pid_t pid_ = -1;
    bool ended_ = false;
    ChildExit exit_;
};

// A file descriptor, closed with its owner.
class Descriptor {
  public:
    explicit Descriptor(int number = -1) : number_(number) {}
    ~Descriptor() { close(); }
    Descriptor(Descriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
    Descriptor& operator=(Descriptor&&) = delete;
    int get() const { return number_; }
    bool open() const { return number_ >= 0; }
    void close();

  private:
    int number_;
};

// Two ends of one channel, close-on-exec. A socket pair, because writing to a dead reader of a
// pipe would raise SIGPIPE in this process. Neither end is 0, 1 or 2, also where this process runs
// with one of these closed: a child gets other descriptors by these numbers.
struct Channel {
    Descriptor ours, theirs;
    static Channel make();  // throws std::system_error
};

}  // namespace hetune
