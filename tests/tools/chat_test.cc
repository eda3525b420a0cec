// The conversation of hetune run on a terminal of its own (a pty), with a shell behind it.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/cache/test_folder.h"

namespace hetune {
namespace {

const std::string kTinyChat = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";
constexpr auto kPatience = std::chrono::seconds(60);  // only a test that fails waits so long

// A shell that runs a conversation, says how it ended, and then shows all input that reaches it.
class Terminal {
  public:
    explicit Terminal(const std::string& options) {
        const std::string script = fmt::format(
            "trap : INT; stty -a > '{0}/before'; HETUNE_CACHE_DIR='{0}/cache' '{1}/bin/hetune' run "
            "'{2}' -q --backend reference {3}; echo \"status=$?\"; stty -a > '{0}/after'; "
            "echo BEHIND; timeout 1 cat; echo FINISHED",
            folder_.path().string(), HETUNE_BUILD_DIR, kTinyChat, options);
        child_ = forkpty(&master_, nullptr, nullptr, nullptr);
        REQUIRE(child_ >= 0);
        if (child_ > 0) return;
        execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
        _exit(127);
    }
    ~Terminal() {
        close(master_);  // SIGHUP for what still runs
        kill(child_, SIGKILL);
        waitpid(child_, nullptr, 0);
    }

    void type(std::string_view text) {
        while (!text.empty()) {
            const ssize_t wrote = write(master_, text.data(), text.size());
            if (wrote <= 0) return;
            text.remove_prefix(static_cast<size_t>(wrote));
        }
    }
    // Reads until `text`, or anything where it is empty, has come behind what was found before;
    // false at the end of the output.
    bool sees(const std::string& text) {
        const auto until = std::chrono::steady_clock::now() + kPatience;
        for (;;) {
            const size_t at = output_.find(text, seen_);
            if (at != std::string::npos && (!text.empty() || output_.size() > seen_)) {
                seen_ = at + text.size();
                return true;
            }
            pollfd ready = {master_, POLLIN, 0};
            char piece[4096];
            ssize_t got = 0;
            if (std::chrono::steady_clock::now() > until || poll(&ready, 1, 1000) < 0 ||
                (ready.revents != 0 && (got = read(master_, piece, sizeof piece)) <= 0)) {
                MESSAGE("waited for '", text, "' in: ", output_);
                return false;
            }
            output_.append(piece, static_cast<size_t>(got));
        }
    }
    bool asks() { return sees("> "); }
    // The conversation ended with this exit code, gave the terminal back as it was, and left no
    // input behind.
    void check_end(int status) {
        CHECK(sees(fmt::format("status={}", status)));
        CHECK(sees("BEHIND"));
        const size_t behind = seen_;
        CHECK(sees("FINISHED"));
        CHECK(output_.substr(behind).find("LEAK") == std::string::npos);
        CHECK(!file("before").empty());
        CHECK(file("before") == file("after"));
        CHECK(output_.rfind("\x1b[?2004l") != std::string::npos);  // pastes are no longer marked
    }

  private:
    std::string file(const char* name) const {
        std::ifstream in(folder_.path() / name);
        return {std::istreambuf_iterator<char>(in), {}};
    }

    TestFolder folder_;
    int master_ = -1;
    pid_t child_ = -1;
    std::string output_;
    size_t seen_ = 0;
};

TEST_CASE("An empty line does not end a chat, and Ctrl-D does") {
    Terminal terminal("-n 2");
    REQUIRE(terminal.asks());
    terminal.type("\n");
    REQUIRE(terminal.asks());
    terminal.type("  \n");
    REQUIRE(terminal.asks());
    terminal.type("Hello\n");
    REQUIRE(terminal.sees("The answer was cut at 2 tokens"));
    REQUIRE(terminal.asks());
    terminal.type(
        "\x04"
        "echo LEAK\n");
    terminal.check_end(0);
}

TEST_CASE("Lines that were pasted together are one turn") {
    Terminal terminal("-n 2");
    REQUIRE(terminal.sees("\x1b[?2004h"));
    REQUIRE(terminal.asks());
    terminal.type("\x1b[200~first line\r\x04/exit\r\rlast line\x1b[201~\n");
    REQUIRE(terminal.sees("last line"));
    REQUIRE(terminal.sees("The answer was cut at 2 tokens"));
    REQUIRE(terminal.asks());
    terminal.type("/exit\n");
    terminal.check_end(0);
}

TEST_CASE("What is pasted behind the end of a chat does not reach the shell") {
    Terminal terminal("-n 2");
    REQUIRE(terminal.asks());
    std::string paste = "/exit\n";
    for (int line = 0; line < 2000; ++line) paste += "echo LEAK\n";  // more than a pty holds
    terminal.type(paste);
    terminal.check_end(0);
}

TEST_CASE("Ctrl-C ends an answer and not the chat, and a second one the chat") {
    Terminal terminal("-n -1 --ignore-end -c 8192");
    REQUIRE(terminal.asks());
    terminal.type("Hello\n");
    REQUIRE(terminal.sees("Hello\r\n"));
    REQUIRE(terminal.sees(""));  // the answer, which takes the whole context
    terminal.type("\x03");
    REQUIRE(terminal.asks());
    terminal.type("/undo\n");
    REQUIRE(terminal.asks());
    terminal.type("\x03");
    terminal.check_end(130);
}

}  // namespace
}  // namespace hetune
