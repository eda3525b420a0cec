#include "tools/process_limits.h"

#include <pthread.h>
#include <sys/resource.h>

#include <system_error>
#include <thread>

#include "runtime/compile/signal_action.h"

namespace hetune {
namespace {

constexpr rlim_t kStackBytes = rlim_t{8} << 20;  // Linux's default

// Of threads, whose stacks come from mmap and which the limit on the stack does not bind.
void give_threads_usual_stack() {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return;
    if (pthread_attr_setstacksize(&attributes, kStackBytes) == 0)
        pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
}

}  // namespace

int run_within_limits(const std::function<int()>& body) {
    set_signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= kStackBytes) return body();
    give_threads_usual_stack();
    int status = 0;
    try {
        std::thread thread([&] { status = body(); });
        thread.join();
    } catch (const std::system_error&) {  // no thread can be had
        return body();
    }
    return status;
}

}  // namespace hetune
