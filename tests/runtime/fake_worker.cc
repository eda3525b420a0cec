// Stands in for hetune-worker: answers as the request's source or arch says, so that tests can have
// every way in which a compiler fails. Known: "abort", "segfault", "hang", "exit", "garbage", "lie"
// (an answer that announces terabytes), "silent" (closes its output and stays), "memory", "no
// room", "refuse", "environment"; anything else comes back as the object.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/compile/worker_protocol.h"

extern char** environ;

namespace {

void send_raw(const std::string& bytes) { (void)!write(1, bytes.data(), bytes.size()); }

void fail(const std::string& how) {
    std::fprintf(stderr, "LLVM ERROR: asked to %s\n", how.c_str());
    if (how == "abort") std::abort();
    if (how == "segfault") {
        std::signal(SIGSEGV, SIG_DFL);  // AddressSanitizer's handler would exit instead
        raise(SIGSEGV);
    }
    if (how == "hang") pause();
    if (how == "exit") _exit(3);
    if (how == "garbage") send_raw("Segmentation fault? No, thank you.");
    if (how == "lie") send_raw(std::string("HTW1\0\0\1\0\0\0\0\0\0\1\0\0", 16));
    if (how == "silent") {
        close(1);
        close(0);
    }
    if (how == "no room") {
        std::fputs("LLVM ERROR: IO failure on output stream: No space left on device\n", stderr);
        std::abort();
    }
    if (how == "memory") {
        std::vector<char*> eaten;
        for (;;) eaten.push_back(new char[size_t{1} << 30]);  // untouched: takes addresses only
    }
    pause();
}

std::string environment() {
    std::string all;
    for (char** setting = environ; *setting != nullptr; ++setting)
        all += *setting + std::string("\n");
    return all;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> failures = {"abort", "segfault", "hang",   "exit",   "garbage",
                                               "lie",   "silent",   "memory", "no room"};
    hetune::MessageReader reader;
    while (auto request = hetune::receive_message(0, reader)) {
        const std::string& source = request->body;
        for (const std::string& how : failures)
            if (source == how || request->header.value("arch", "") == how) fail(how);
        std::string object = source;
        if (source == "environment") object = environment();
        hetune::WorkerMessage answer{{{"status", "done"}, {"version", "1.0"}}, object};
        if (source == "refuse")
            answer = {{{"status", "failed"},
                       {"error", "gemv.hip:1:7: error: no"},
                       {"log", "gemv.hip:1:7: error: no\nall of it"}},
                      {}};
        if (argc > 2 && std::strcmp(argv[2], "/no/such/library") == 0)
            answer = {{{"status", "unavailable"}, {"error", "libfake.so: not found"}}, {}};
        hetune::send_message(1, answer);
    }
}
