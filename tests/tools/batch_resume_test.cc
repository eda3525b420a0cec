// `hetune batch` that was killed, interrupted, divided or started twice.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/tools/batch_files.h"

namespace hetune {
namespace {

const std::string kTinyResumed = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";

std::string many_requests(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i)
        lines += completion(fmt::format("id {}", i),
                            {{"prompt", Json(std::vector<int>(static_cast<size_t>(1 + i % 3), i))},
                             {"max_tokens", 2 + i % 4}});
    return lines;
}

// Runs for many times as long as many_requests(): a batch that ends with it gets its signal before.
std::string endless_request() {
    return completion("endless", {{"prompt", "x"}, {"max_tokens", 2000}, {"ignore_eos", true}});
}

// A folder with requests, and outputs by name.
struct Resumed {
    TestFolder folder;

    explicit Resumed(const std::string& lines) { write_text(path("in"), lines); }
    std::filesystem::path path(const std::string& name) const { return folder.path() / name; }
    std::string arguments(const std::string& output, const std::string& options) const {
        return fmt::format("batch '{}' '{}' -o '{}' --backend reference -q {}", kTinyResumed,
                           path("in").string(), path(output).string(), options);
    }
    CommandResult run(const std::string& output, const std::string& options = {}) const {
        return run_hetune(path("cache"), arguments(output, options));
    }
    // Starts the same with an endless request at its end, sends `signal` once the output has so
    // many lines, and gives the exit code, or 128 + signal.
    int run_until(const std::string& output, int64_t lines, int signal) const {
        const std::string command = fmt::format(
            "HETUNE_CACHE_DIR='{}' exec '{}/bin/hetune' {} >'{}' 2>&1", path("cache").string(),
            HETUNE_BUILD_DIR, arguments(output, "--parallel 3"), path("said").string());
        const std::string requests = text_of(path("in"));
        write_text(path("in"), requests + endless_request());
        const pid_t child = fork();
        if (child == 0) {
            execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
            _exit(127);
        }
        REQUIRE(child > 0);
        int status = 0;
        while (waitpid(child, &status, WNOHANG) == 0)
            if (std::ranges::count(text_of(path(output)), '\n') >= lines) {
                kill(child, signal);
                waitpid(child, &status, 0);
                break;
            } else {
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            }
        write_text(path("in"), requests);
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
};

TEST_CASE("a batch that is killed again and again ends with each answer once, and the same texts") {
    const Resumed batch(many_requests(24));
    REQUIRE(batch.run("whole").status == 0);
    const auto whole = texts_of(batch.path("whole"));
    REQUIRE(whole.size() == 24);
    for (const int64_t lines : {1, 8, 16}) CHECK(batch.run_until("out", lines, SIGKILL) == 137);
    CHECK(batch.run("out").status == 0);
    CHECK(texts_of(batch.path("out")) == whole);
}

TEST_CASE("a last line that is torn anywhere is cut off and answered again") {
    const Resumed batch(many_requests(3));
    REQUIRE(batch.run("out").status == 0);
    const auto whole = texts_of(batch.path("out"));
    const std::string text = text_of(batch.path("out"));
    const size_t last = text.rfind('\n', text.size() - 2) + 1;
    for (const size_t bytes :
         {size_t{0}, size_t{1}, size_t{8}, size_t{60}, text.size() - 1 - last}) {
        CAPTURE(bytes);
        write_text(batch.path("out"), text.substr(0, last + bytes));
        const CommandResult result = batch.run("out", "--json");
        CHECK(result.status == 0);
        CHECK(result.json()["answered_before"] == 2);
        CHECK(result.json()["answered"] == 1);
        CHECK(text_of(batch.path("out")).substr(0, last) == text.substr(0, last));
        CHECK(texts_of(batch.path("out")) == whole);
    }
}

TEST_CASE("an output that is complete stays as it is, and its errors still count") {
    const Resumed batch(many_requests(2) + completion("bad", {{"prompt", 7}}));
    REQUIRE(batch.run("out").status == 1);
    const std::string text = text_of(batch.path("out"));
    const CommandResult again = batch.run("out", "--json");
    CHECK(again.status == 1);
    CHECK(again.json()["answered"] == 0);
    CHECK(again.json()["failed"] == 1);
    CHECK(text_of(batch.path("out")) == text);
}

TEST_CASE("Ctrl-C drops what is unfinished, says how to go on, and ends with 130") {
    const Resumed batch(many_requests(24));
    REQUIRE(batch.run("whole").status == 0);
    CHECK(batch.run_until("out", 5, SIGINT) == 130);
    const size_t answered = answers_of(batch.path("out")).size();
    CHECK(answered <= 24);
    CHECK(text_of(batch.path("said")) ==
          fmt::format("hetune: batch: {} of 25 requests are answered in {}; the same command goes "
                      "on from there\n",
                      answered, batch.path("out").string()));
    CHECK(batch.run_until("out", 12, SIGTERM) == 143);
    CHECK(batch.run("out").status == 0);
    CHECK(texts_of(batch.path("out")) == texts_of(batch.path("whole")));
}

TEST_CASE("parts have each line once, whether they have files of their own or one") {
    const Resumed batch(std::string("\n") + many_requests(11));
    REQUIRE(batch.run("whole").status == 0);
    const auto whole = texts_of(batch.path("whole"));
    std::map<std::string, std::string> all;
    for (const char* part : {"1", "2", "3"}) {
        REQUIRE(batch.run(part, fmt::format("--shard {}/3", part)).status == 0);
        REQUIRE(batch.run("one", fmt::format("--shard {}/3", part)).status == 0);
        const auto texts = texts_of(batch.path(part));
        CHECK(texts.size() == (std::string(part) == "1" ? 3 : 4));
        for (const auto& [id, text] : texts) CHECK(all.emplace(id, text).second);
    }
    CHECK(all == whole);
    CHECK(texts_of(batch.path("one")) == whole);
    // Line 1 is blank, line 2 the first request, which belongs to the second part.
    CHECK(texts_of(batch.path("2")).contains("id 0"));
    CHECK(texts_of(batch.path("2")).contains("id 3"));
}

TEST_CASE("a limit takes the first requests of a part, however often") {
    const Resumed batch(many_requests(9));
    for (int i = 0; i < 2; ++i) {
        CHECK(batch.run("out", "--limit 2 --shard 2/3").status == 0);
        const auto texts = texts_of(batch.path("out"));
        CHECK(texts.size() == 2);
        CHECK(texts.contains("id 1"));
        CHECK(texts.contains("id 4"));
    }
}

TEST_CASE("a second process is refused while one writes the same output") {
    const Resumed batch(many_requests(2));
    const int held = open(batch.path("out").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    REQUIRE(flock(held, LOCK_EX) == 0);
    const CommandResult second = batch.run("out");
    CHECK(second.status == 1);
    CHECK(second.output == fmt::format("hetune: {}: another process writes to this file; wait for "
                                       "its end, or give -o another file\n",
                                       batch.path("out").string()));
    close(held);
    CHECK(batch.run("out").status == 0);
}

TEST_CASE("a file that is no output of a batch is left as it is") {
    const Resumed batch(many_requests(2));
    for (const std::string text :
         {"my notes", "my notes\n", "{}\n", "{\"custom_id\":7}\n", "{\"id\":\"x\"\n"}) {
        CAPTURE(text);
        write_text(batch.path("out"), text);
        const CommandResult result = batch.run("out");
        CHECK(result.status == 1);
        CHECK(result.lines() == 1);
        CHECK(result.says("out: line 1 is no answer of a batch: "));
        CHECK(text_of(batch.path("out")) == text);
    }
}

TEST_CASE("answers to other requests stay, with a warning") {
    const Resumed batch(many_requests(3));
    REQUIRE(batch.run("out").status == 0);
    const std::string before = text_of(batch.path("out"));
    write_text(batch.path("in"), completion("new", {{"prompt", "x"}, {"max_tokens", 1}}));
    const CommandResult result = batch.run("out");
    CHECK(result.status == 0);
    CHECK(result.says("out: 3 of its answers belong to no request of "));
    CHECK(text_of(batch.path("out")).starts_with(before));
    CHECK(answers_of(batch.path("out")).size() == 4);
}

TEST_CASE("an output that the disk does not take has whole lines only") {
    const Resumed batch(many_requests(20));
    // Room for a few lines: a limit of the shell, in blocks of 512 or 1024 bytes.
    const CommandResult full = run_hetune(
        batch.path("cache"), fmt::format("--version >/dev/null; (ulimit -f 3; trap '' XFSZ; exec "
                                         "'{}/bin/hetune' {})",
                                         HETUNE_BUILD_DIR, batch.arguments("out", "")));
    CHECK(full.status == 1);
    CHECK(full.says("the same command goes on from there"));
    CHECK(full.says("out: File too large"));
    const size_t answered = answers_of(batch.path("out")).size();
    CHECK(answered > 0);
    CHECK(answered < 20);
    CHECK(batch.run("out").status == 0);
    CHECK(answers_of(batch.path("out")).size() == 20);
}

}  // namespace
}  // namespace hetune
