#include "tools/interrupts.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "runtime/compile/signal_action.h"

namespace hetune {
namespace {

constexpr int kEnding = -1;  // no signal came; the next one ends the process

std::atomic<int> first_signal = 0;  // 0: none yet
std::atomic<bool> asks[NSIG] = {};
void (*put_back_terminal)() noexcept = nullptr;

void on_ending_signal(int signal) {
    int none = 0;
    if (asks[signal] && first_signal.compare_exchange_strong(none, signal)) return;
    if (put_back_terminal != nullptr) put_back_terminal();
    _exit(128 + signal);
}

}  // namespace

void catch_interrupts(const std::vector<int>& asking, void (*put_back)() noexcept) {
    put_back_terminal = put_back;
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        asks[signal] = std::ranges::find(asking, signal) != asking.end();
        struct sigaction before = {};
        sigaction(signal, nullptr, &before);
        if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
        set_signal(signal, on_ending_signal);
    }
}

bool interrupted() { return first_signal != 0; }
void expect_end() { first_signal = kEnding; }
void forget_interrupts() { first_signal = 0; }

int interrupted_status(int status) {
    const int signal = first_signal;
    return signal > 0 ? 128 + signal : status;
}

}  // namespace hetune
