// --prompt-cache as a user gives it: beside the cache of kernels and inside, wrong folders, two
// processes on one folder, and processes that are killed.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <set>
#include <thread>

#include "tests/run_store.h"
#include "tests/tools/batch_files.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

const std::string kTiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";
// More than two pages of tokens.
const std::string kPrompt = text_of(HETUNE_TEST_MODELS "/README.md").substr(0, 600);

// A cache that finds its kernels in that of the test run.
struct Box {
    TestFolder folder;
    fs::path cache = folder.path() / "cache";

    CommandResult hetune(const std::string& arguments) const {
        return run_hetune(cache, arguments,
                          fmt::format("HETUNE_CACHE_PATH='{}'", run_store().string()));
    }
    std::string run_arguments(const std::string& options) const {
        const fs::path prompt = folder.path() / "prompt";
        if (!fs::exists(prompt)) write_text(prompt, kPrompt);
        return fmt::format("run '{}' --backend cpu --ctx 512 -n 8 --temp 0 -p \"$(cat '{}')\" {}",
                           kTiny, prompt.string(), options);
    }
    Json run(const std::string& options) const {
        const CommandResult result = hetune(run_arguments(options + " --json 2>/dev/null"));
        CAPTURE(result.output);
        REQUIRE(result.status == 0);
        return Json::parse(result.output);
    }
};

size_t pieces_in(const fs::path& folder) {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
        count += entry.path().extension() == ".prompt";
    return count;
}

TEST_CASE("commands of the cache leave a folder of prompts alone, wherever it lies") {
    for (const char* where : {"beside", "cache", "cache/prompts", "cache/a/b"}) {
        CAPTURE(where);
        const Box box;
        const fs::path prompts = box.folder.path() / where;
        const std::string option = fmt::format("--prompt-cache '{}'", prompts.string());
        const Json first = box.run(option);
        CHECK(first["cached_tokens"] == 0);
        const size_t pieces = pieces_in(prompts);
        REQUIRE(pieces >= 2);
        for (const char* command :
             {"stats", "stats --json", "ls", "ls --json", "path", "verify", "verify --repair",
              "gc --size 0 --tiles-size 0 --age 0s", "recipes ls"}) {
            CAPTURE(command);
            const CommandResult result = box.hetune(std::string("cache ") + command);
            CAPTURE(result.output);
            CHECK(result.status == 0);
            CHECK(!result.says(".prompt"));
            CHECK(!result.says("damaged:"));
            CHECK(!result.says("not of this hetune"));
            CHECK(pieces_in(prompts) == pieces);
        }
        CHECK(box.hetune(
                     fmt::format("cache export -o '{}'", (box.folder.path() / "all.htb").string()))
                  .status == 0);
        CHECK(box.hetune("cache clear --yes").status == 0);
        CHECK(pieces_in(prompts) == pieces);
        const Json second = box.run(option);
        CHECK(second["cached_tokens"] >= 128);
        CHECK(second["text"] == first["text"]);
    }
}

TEST_CASE("a folder that the cache keeps its own files in takes no prompts") {
    const Box box;
    for (const char* own :
         {"objects", "objects/ab", "tmp", "recipes", "tunings", "facts", "tiles"}) {
        CAPTURE(own);
        const fs::path folder = box.cache / own;
        const CommandResult refused =
            box.hetune(box.run_arguments(fmt::format("-q --prompt-cache '{}'", folder.string())));
        CHECK(refused.status == 2);
        CHECK(refused.output ==
              fmt::format("hetune: --prompt-cache is {}, where hetune's cache keeps its own files "
                          "and removes others; name another folder, as {}\n",
                          folder.string(), (box.cache / "prompts").string()));
        CHECK(pieces_in(box.folder.path()) == 0);
    }
}

TEST_CASE("a folder that cannot be used gives one warning, and the answer is the same") {
    const Box box;
    const Json plain = box.run("");
    write_text(box.folder.path() / "file", "");
    fs::create_directory(box.folder.path() / "open");
    fs::permissions(box.folder.path() / "open", fs::perms::all);
    for (const auto& [folder, why] : {std::pair<std::string, const char*>{
                                          (box.folder.path() / "file").string(), "is no folder"},
                                      {(box.folder.path() / "file/within").string(), "cannot be"},
                                      {(box.folder.path() / "open").string(), "chmod go-w"},
                                      {"/proc/nothing", "cannot be made"}}) {
        CAPTURE(folder);
        const std::string option = fmt::format("--prompt-cache '{}'", folder);
        CHECK(box.run(option)["text"] == plain["text"]);
        const CommandResult text = box.hetune(box.run_arguments("-q " + option));
        CAPTURE(text.output);
        CHECK(text.status == 0);
        const size_t at = text.output.find("hetune: warning: prompts are not kept on disk: ");
        CHECK(at != std::string::npos);
        CHECK(text.output.find("warning", at + 20) == std::string::npos);
        CHECK(text.says(why));
    }
}

TEST_CASE("wrong uses of --prompt-cache are said in one line") {
    const Box box;
    for (const auto& [options, line] :
         {std::pair<const char*, const char*>{"--prompt-cache-size 1G",
                                              "run: --prompt-cache-size needs --prompt-cache"},
          {"--prompt-cache ''", "run: --prompt-cache: the value is empty"},
          {"--prompt-cache d --prompt-cache-size much",
           "run: --prompt-cache-size: 'much' is no size; write 8G or 512M"},
          {"--prompt-cache d --no-prefix-cache",
           "--prompt-cache keeps what prompts have in common, and --no-prefix-cache computes "
           "every prompt as a whole: leave one of them out"}}) {
        CAPTURE(options);
        const CommandResult result = box.hetune(box.run_arguments(options));
        CAPTURE(result.output);
        CHECK(result.status == 2);
        CHECK(result.lines() == 1);
        CHECK(result.says(line));
    }
}

// A process of `hetune batch` that may be killed.
class Process {
  public:
    explicit Process(const std::string& command) : pid_(fork()) {
        if (pid_ != 0) return;
        setpgid(0, 0);
        execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
        _exit(127);
    }
    // The exit code; -1: ended by a signal.
    int wait() {
        int status = 0;
        waitpid(pid_, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    void kill_all() const { kill(-pid_, SIGKILL); }

  private:
    pid_t pid_;
};

TEST_CASE("two processes share a folder of prompts, are killed, and no answer changes") {
    const Box box;
    std::string lines;
    for (int i = 0; i < 12; ++i)
        lines +=
            completion(std::to_string(i),
                       {{"prompt", kPrompt.substr(0, 400 + 15 * (i % 5)) + std::to_string(i / 5)},
                        {"max_tokens", 6},
                        {"temperature", 0}});
    const auto path = [&](const std::string& name) { return (box.folder.path() / name).string(); };
    write_text(path("in"), lines);
    const auto command = [&](const std::string& out, const std::string& options) {
        return fmt::format(
            "HETUNE_CACHE_DIR='{}' HETUNE_CACHE_PATH='{}' exec '{}/bin/hetune' batch '{}' '{}' "
            "-o '{}' -q --backend cpu --ctx 2048 --parallel 3 {}",
            box.cache.string(), run_store().string(), HETUNE_BUILD_DIR, kTiny, path("in"),
            path(out), options);
    };
    REQUIRE(Process(command("alone", "")).wait() == 0);
    const auto alone = texts_of(path("alone"));
    REQUIRE(alone.size() == 12);
    const std::string option = fmt::format("--prompt-cache '{}'", path("prompts"));
    // Killed at any moment: while loading, while answering, and while pages are written at the end.
    for (int round = 0; round < 8; ++round) {
        CAPTURE(round);
        Process first(command(fmt::format("first{}", round), option)),
            second(command(fmt::format("second{}", round), option));
        std::this_thread::sleep_for(std::chrono::milliseconds(150 * (round + 1)));
        first.kill_all();
        first.wait();
        if (round % 2 == 1) second.kill_all();
        const int status = second.wait();
        if (round % 2 == 1) continue;
        CHECK(status == 0);
        CHECK(texts_of(path(fmt::format("second{}", round))) == alone);
    }
    // Files that the killed processes left behind are no prompts; the prompts are whole.
    REQUIRE(Process(command("last", option)).wait() == 0);
    CHECK(texts_of(path("last")) == alone);
    int64_t cached = 0;
    for (const auto& [id, line] : answers_of(path("last")))
        cached += line["response"]["body"]["usage"]["prompt_tokens_details"]["cached_tokens"]
                      .get<int64_t>();
    CHECK(cached >= 12 * 64);
    CHECK(pieces_in(path("prompts")) >= 2);
}

}  // namespace
}  // namespace hetune
