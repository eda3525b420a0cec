#include "runtime/compile/worker_pool.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <optional>
#include <queue>
#include <thread>

#include "runtime/compile/child.h"
#include "runtime/compile/child_process.h"

namespace hetune {

using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kAskAgain = std::chrono::milliseconds(100);  // whether a request is given up
constexpr int kAttempts = 5;            // of a request whose workers are killed from outside
constexpr size_t kLogBytes = 64 << 10;  // kept of a worker's stderr

}  // namespace

// PR_SET_PDEATHSIG goes by the thread that forked, and a request's thread may end long before the
// worker that it happened to start: one thread, which lives as long as the pool, starts them all.
class ForkThread {
  public:
    ForkThread() : thread_([this](const std::stop_token& stop) { run(stop); }) {}

    std::unique_ptr<ChildProcess> start(const std::vector<std::string>& argv,
                                        const ChildProcess::Ends& ends, const std::string& folder,
                                        const std::vector<std::string>& settings) {
        Task task([&] { return std::make_unique<ChildProcess>(argv, ends, folder, settings); });
        auto result = task.get_future();
        {
            const std::lock_guard lock(mutex_);
            tasks_.push(std::move(task));
        }
        wake_.notify_one();
        return result.get();
    }

  private:
    using Task = std::packaged_task<std::unique_ptr<ChildProcess>()>;

    void run(const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        while (wake_.wait(lock, stop, [this] { return !tasks_.empty(); })) {
            Task task = std::move(tasks_.front());
            tasks_.pop();
            lock.unlock();
            task();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::queue<Task> tasks_;
    std::jthread thread_;
};

class Worker {
  public:
    Worker(const WorkerPool::Options& options, ForkThread& forks)
        : Worker(options, forks, Channel::make(), Channel::make()) {}

    pid_t pid() const { return process_->pid(); }
    bool alive() const {
        siginfo_t info{};
        waitid(P_PID, static_cast<id_t>(pid()), &info, WEXITED | WNOHANG | WNOWAIT);
        return info.si_pid == 0;
    }

    // Throws WorkerFailure; the worker is of no further use then.
    WorkerMessage ask(const std::string& request, std::chrono::milliseconds limit,
                      const WorkerPool::GivenUp& given_up) {
        const Clock::time_point deadline = Clock::now() + limit;
        size_t sent = 0;
        for (;;) {
            try {
                if (auto answer = reader_.take()) return *std::move(answer);
            } catch (const ProtocolError& error) {
                end(WorkerFailure::Cause::kCrash,
                    fmt::format("it answered with garbage: {}", error.what()));
            }
            const auto left =
                std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
            if (left.count() <= 0)
                end(WorkerFailure::Cause::kTimeout,
                    fmt::format("no answer in {} s; killed", limit.count() / 1000.0));
            if (given_up && given_up()) end(WorkerFailure::Cause::kGivenUp, "given up; killed");
            const auto most = given_up ? kAskAgain : std::chrono::milliseconds(1000);
            const bool more = sent < request.size();
            pollfd ends[2] = {
                {talk_.get(), static_cast<short>(more ? POLLIN | POLLOUT : POLLIN), 0},
                {errors_.get(), POLLIN, 0}};
            if (poll(ends, 2, static_cast<int>(std::min(left, most).count())) <= 0) continue;
            if (ends[1].revents != 0) read_log();
            if ((ends[0].revents & POLLOUT) != 0 && more) {
                const ssize_t count = ::send(talk_.get(), request.data() + sent,
                                             request.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
                if (count > 0) sent += static_cast<size_t>(count);
            }
            if ((ends[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !receive()) ended();
        }
    }

  private:
    Worker(const WorkerPool::Options& options, ForkThread& forks, Channel talk, Channel errors)
        : folder_(options.cache_folder),
          process_(forks.start(options.argv,
                               {talk.theirs.get(), talk.theirs.get(), errors.theirs.get()},
                               folder_.path(), options.settings)),
          talk_(std::move(talk.ours)),
          errors_(std::move(errors.ours)) {}

    // False at the end of the stream.
    bool receive() {
        char chunk[65536];
        const ssize_t count = recv(talk_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
        if (count > 0) reader_.feed({chunk, static_cast<size_t>(count)});
        return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
    }

    void read_log() {
        char chunk[65536];
        ssize_t count = 0;
        while ((count = recv(errors_.get(), chunk, sizeof chunk, MSG_DONTWAIT)) > 0)
            log_.append(chunk, static_cast<size_t>(count));
        if (log_.size() > kLogBytes) log_.erase(0, log_.size() - kLogBytes);
        if (count == 0) errors_.close();
    }

    [[noreturn]] void end(WorkerFailure::Cause cause, const std::string& outcome) {
        process_->kill();
        process_->wait();
        read_log();
        throw WorkerFailure(cause, 0, outcome, std::move(log_));
    }

    // It closed its side: it is gone, or as good as gone.
    [[noreturn]] void ended() {
        const auto patience = Clock::now() + std::chrono::seconds(2);
        while (alive() && Clock::now() < patience)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (alive())
            end(WorkerFailure::Cause::kCrash, "it closed its output and did not end; killed");
        const ChildExit exit = process_->wait();
        read_log();
        const auto cause =
            exit.signal == SIGKILL ? WorkerFailure::Cause::kKilled : WorkerFailure::Cause::kCrash;
        throw WorkerFailure(cause, exit.signal, exit.outcome, std::move(log_), exit.exit_code);
    }

    ScratchFolder folder_;
    std::unique_ptr<ChildProcess> process_;
    Descriptor talk_, errors_;
    MessageReader reader_;
    std::string log_;
};

WorkerPool::WorkerPool(Options options)
    : options_(std::move(options)), forks_(std::make_unique<ForkThread>()) {}

WorkerPool::~WorkerPool() = default;

std::unique_ptr<Worker> WorkerPool::take(const GivenUp& given_up) {
    std::unique_lock lock(mutex_);
    // Pressure falls without telling us, so a waiter asks again now and then.
    while (busy_ >= std::max(1, options_.most())) {
        if (given_up && given_up())
            throw WorkerFailure(WorkerFailure::Cause::kGivenUp, 0, "given up", {});
        freed_.wait_for(lock, given_up ? kAskAgain : std::chrono::milliseconds(500));
    }
    ++busy_;
    if (idle_.empty()) return nullptr;
    std::unique_ptr<Worker> worker = std::move(idle_.back());
    idle_.pop_back();
    return worker;
}

void WorkerPool::give_back(std::unique_ptr<Worker> worker) {
    {
        const std::lock_guard lock(mutex_);
        if (worker != nullptr) idle_.push_back(std::move(worker));
        --busy_;
    }
    freed_.notify_one();
}

WorkerMessage WorkerPool::call(const WorkerMessage& request, const GivenUp& given_up) {
    const std::string bytes = encode(request);
    std::unique_ptr<Worker> worker = take(given_up);
    auto forget = [&] {
        if (worker == nullptr) return;
        const std::lock_guard lock(mutex_);
        std::erase(running_, worker->pid());
    };
    try {
        if (worker != nullptr && !worker->alive()) {  // killed while it was idle
            forget();
            worker.reset();
        }
        for (int attempt = 1;; ++attempt) {
            if (worker == nullptr) {
                worker = std::make_unique<Worker>(options_, *forks_);
                const std::lock_guard lock(mutex_);
                running_.push_back(worker->pid());
            }
            try {
                WorkerMessage answer = worker->ask(bytes, options_.limit, given_up);
                give_back(std::move(worker));
                return answer;
            } catch (const WorkerFailure& failure) {
                forget();
                worker.reset();
                if (failure.cause() != WorkerFailure::Cause::kKilled || attempt == kAttempts) throw;
            }
        }
    } catch (...) {
        give_back(nullptr);
        throw;
    }
}

std::vector<pid_t> WorkerPool::running() const {
    const std::lock_guard lock(mutex_);
    return running_;
}

}  // namespace hetune
