#include "runtime/compile/child.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "runtime/compile/child_process.h"

namespace hetune {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kAskAgainMs = 100;  // whether the child is given up
constexpr size_t kMaxOutput = size_t{256} << 20;

// Appends what is there; closes at the end of the stream.
void drain(Descriptor& end, std::string& to) {
    char chunk[65536];
    const ssize_t count = recv(end.get(), chunk, sizeof chunk, MSG_DONTWAIT);
    if (count > 0 && to.size() < kMaxOutput) to.append(chunk, static_cast<size_t>(count));
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) end.close();
}

// Gives `input` and takes both outputs until they end; false when time is up, or when the child is
// given up.
bool converse(Descriptor& in, Descriptor& out, Descriptor& err, const std::string& input,
              ChildResult& result, Clock::time_point deadline,
              const std::function<bool()>& given_up) {
    size_t given = 0;
    if (input.empty()) in.close();
    while (out.open() || err.open()) {
        pollfd ends[3] = {{in.get(), POLLOUT, 0}, {out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}};
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
        if (left.count() <= 0) return false;
        result.given_up = given_up && given_up();
        if (result.given_up) return false;
        const int64_t most = given_up ? kAskAgainMs : 1000;
        const int ready = poll(ends, 3, static_cast<int>(std::min<int64_t>(left.count(), most)));
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        if (ends[0].revents != 0) {
            const ssize_t count = send(in.get(), input.data() + given, input.size() - given,
                                       MSG_DONTWAIT | MSG_NOSIGNAL);
            if (count > 0) given += static_cast<size_t>(count);
            const bool refused = count < 0 && errno != EAGAIN && errno != EINTR;
            if (given == input.size() || refused) in.close();
        }
        if (ends[1].revents != 0) drain(out, result.output);
        if (ends[2].revents != 0) drain(err, result.errors);
    }
    return true;
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& argv, const std::string& input,
                      std::chrono::milliseconds limit, const std::string& temp_folder,
                      const std::function<bool()>& given_up) {
    ChildResult result;
    Channel in = Channel::make(), out = Channel::make(), err = Channel::make();
    ChildProcess child(argv, {in.theirs.get(), out.theirs.get(), err.theirs.get()}, temp_folder);
    for (Channel* channel : {&in, &out, &err}) channel->theirs.close();

    // A child may close both outputs and stay.
    const Clock::time_point deadline = Clock::now() + limit;
    const bool ended = converse(in.ours, out.ours, err.ours, input, result, deadline, given_up) &&
                       child.wait_until(deadline);
    result.timed_out = !ended && !result.given_up;
    if (!ended) child.kill();
    const ChildExit& exit = child.wait();
    result.exit_code = exit.exit_code;
    result.signal = exit.signal;
    if (result.given_up)
        result.outcome = "given up; killed";
    else if (result.timed_out)
        result.outcome = fmt::format("no answer in {} s; killed", limit.count() / 1000.0);
    else
        result.outcome = exit.outcome;
    return result;
}

}  // namespace hetune
