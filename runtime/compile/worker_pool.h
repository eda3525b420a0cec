// Compile workers: processes that each opened one compiler library and answer requests
// (worker_protocol.h). A library may abort, hang, eat memory or talk nonsense; that ends one worker
// and one request, and the pool goes on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/compile/worker_protocol.h"

namespace hetune {

// A request that got no answer. what(): how the worker ended, in words.
class WorkerFailure : public std::runtime_error {
  public:
    enum class Cause {
        kCrash,    // ended by itself, or answered nonsense
        kTimeout,  // no answer in time
        kKilled,   // ended by SIGKILL from outside, again and again: says nothing about the request
        kGivenUp,  // by the caller
    };
    WorkerFailure(Cause cause, int signal, const std::string& outcome, std::string log,
                  int exit_code = -1)
        : std::runtime_error(outcome),
          cause_(cause),
          signal_(signal),
          exit_code_(exit_code),
          log_(std::move(log)) {}
    Cause cause() const { return cause_; }
    int signal() const { return signal_; }
    int exit_code() const { return exit_code_; }     // -1: a signal, or it was killed
    const std::string& log() const { return log_; }  // the end of what the worker wrote to stderr

  private:
    Cause cause_;
    int signal_;
    int exit_code_;
    std::string log_;
};

class ForkThread;
class Worker;

// Safe to call from several threads.
class WorkerPool {
  public:
    struct Options {
        std::vector<std::string> argv;      // the worker program and its arguments
        std::vector<std::string> settings;  // environment of the workers, "NAME=value"
        std::chrono::milliseconds limit{};  // for one request
        std::string cache_folder;           // where the workers' temporary folders are made
        std::function<int()> most;          // how many workers may run now; asked for each request
    };
    using GivenUp = std::function<bool()>;
    explicit WorkerPool(Options options);
    ~WorkerPool();  // ends the workers; no request may be under way

    // Blocks until a worker is free, then until it has answered. Workers are started as they are
    // needed and kept. A worker that someone else killed is replaced and asked again, up to five
    // times. `given_up` is asked about ten times a second; true ends the worker and the wait.
    // Throws WorkerFailure, or std::system_error when no process can be started.
    WorkerMessage call(const WorkerMessage& request, const GivenUp& given_up = {});

    // Processes that run now, busy or not.
    std::vector<pid_t> running() const;

  private:
    std::unique_ptr<Worker> take(const GivenUp& given_up);
    void give_back(std::unique_ptr<Worker> worker);

    Options options_;
    std::unique_ptr<ForkThread> forks_;
    mutable std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<std::unique_ptr<Worker>> idle_;
    std::vector<pid_t> running_;
    int busy_ = 0;
};

}  // namespace hetune
