// What every subcommand of `hetune` has in common: exit codes, help, one line for an error.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <vector>

#include "tests/gguf_writer.h"
#include "tests/tools/hetune_command.h"

namespace hetune {
namespace {

const std::string kTiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";

TEST_CASE("without a command the help is printed, and the exit code is 2") {
    TestFolder folder;
    const CommandResult bare = run_hetune(folder.path(), "");
    CHECK(bare.status == 2);
    for (const char* name : {"run", "inspect", "tokenize", "logits", "cache"})
        CHECK(bare.says(name));
    const CommandResult help = run_hetune(folder.path(), "--help");
    CHECK(help.status == 0);
    CHECK(help.output == bare.output);
}

TEST_CASE("an unknown command names the nearest one, and the exit code is 2") {
    TestFolder folder;
    CHECK(run_hetune(folder.path(), "serve").output ==
          "hetune: unknown command 'serve'; `hetune --help` lists all\n");
    for (const auto& [typed, meant] : {std::pair{"inspekt", "inspect"},
                                       {"rnu", "run"},
                                       {"logit", "logits"},
                                       {"tokenise", "tokenize"}}) {
        CAPTURE(typed);
        const CommandResult result = run_hetune(folder.path(), typed);
        CHECK(result.status == 2);
        CHECK(result.lines() == 1);
        CHECK(result.says(fmt::format("unknown command '{}'", typed)));
        CHECK(result.says(fmt::format("'{}'?", meant)));
    }
}

TEST_CASE("wrong options exit 2, a failure exits 1, both on stderr alone") {
    TestFolder folder;
    CHECK(run_hetune(folder.path(), "inspect").status == 2);
    CHECK(run_hetune(folder.path(), "inspect --nonsense x").status == 2);
    CHECK(run_hetune(folder.path(), "run x --fusion maybe").status == 2);
    CHECK(run_hetune(folder.path(), "logits x --text a --tokens 1 --out y").status == 2);
    CHECK(run_hetune(folder.path(), "logits x --out y").status == 2);
    const CommandResult missing = run_hetune(folder.path(), "inspect /nowhere/at-all.gguf");
    CHECK(missing.status == 1);
    CHECK(missing.lines() == 1);
    CHECK(missing.says("/nowhere/at-all.gguf"));
    const CommandResult quiet = run_hetune(folder.path(), "inspect /nowhere.gguf 2>/dev/null");
    CHECK(quiet.status == 1);
    CHECK(quiet.output.empty());
}

TEST_CASE("wrong usage is one line in hetune's words, before anything is opened; exit code 2") {
    TestFolder folder;
    const std::pair<const char*, const char*> cases[] = {
        {"run m --tmep 0.7", "run: unknown option --tmep; did you mean --temp?"},
        {"run m --temperature 1", "run: unknown option --temperature; did you mean --temp?"},
        {"run m -ngl 99", "run: unknown option -ngl; `hetune run --help` lists all"},
        {"run m -ctk q8_0", "run: unknown option -ctk; did you mean --kv?"},
        {"run -m m", "run: unknown option -m; the model file stands without an option"},
        {"run m hello", "run: unexpected argument 'hello'; `hetune run --help` has an example"},
        {"run", "run: FILE is missing; `hetune run --help` has an example"},
        {"run ''", "run: FILE: the value is empty"},
        {"run m --temp", "run: --temp needs a value"},
        {"run m --temp nan", "run: --temp: 'nan' is no number"},
        {"run m --temp -1", "run: --temp is -1; it must be 0 to 100"},
        {"run m --top-p 0", "run: --top-p is 0; it must be 1e-06 to 1"},
        {"run m --top-k -1", "run: --top-k: -1 is not within 0 to 1073741824; 0 keeps all"},
        {"run m --repeat-penalty 0", "run: --repeat-penalty is 0; it must be 0.01 to 100"},
        {"run m --repeat-window 5000", "run: --repeat-window is 5000; it must be 0 to 1024"},
        {"run m -n 3 -n 4", "run: --tokens stands more than once"},
        {"run m --chat-template-kwargs '{'", "run: --chat-template-kwargs: '{' is no JSON object"},
        {"tokenize m --decode abc", "tokenize: --decode: 'abc' is no token id"},
        {"logits m --tokens 1,-2 -o x", "logits: --tokens: -2 is no token id"},
        {"run m -n 0", "run: --tokens 0 generates nothing; -1 has no limit"},
        {"run m -c 8k", "run: --ctx: '8k' is no whole number"},
        {"run m --memory-limit banana",
         "run: --memory-limit: 'banana' is no size; write 8G or 512M"},
        {"run m -p a --system b",
         "run: --system is for a conversation; add --chat, or leave out -p"},
        {"bench m -p 1.5", "bench: --prompt: '1.5' is no whole number"},
        {"bench m --budget soon", "bench: --budget: 'soon' is no time; write 90s, 3m or 1h"},
        {"run m --json=3", "run: --json takes no value"},
        {"run m --json=true", "run: --json takes no value"},
        {"cache ls --json=x", "cache ls: --json takes no value"},
        {"run m --chat-template ''", "run: --chat-template: the value is empty"},
        {"template m --chat-template ''", "template: --chat-template: the value is empty"},
        {"cache gc --size -1", "cache gc: --size: '-1' is no size; write 500M or 2G"},
        {"cache gc --age 30",
         "cache gc: --age: '30' is no age; write a number up to 1000000 and s, m, h or d, such as "
         "30d"},
        {"plan m --rows 3",
         "plan: --rows 3: steps that decode have 1, 2, 4, 8, 16, 32 or 64 rows, one of each "
         "sequence; for a prompt's step of 3 tokens add --prefill"},
        {"plan m --rows 8 --fusion off",
         "plan: --rows with --fusion off: without fusion sequences take turns, in steps of one "
         "row"},
        {"autotune m --rows 1,512",
         "autotune: --rows 512: steps that decode have 1, 2, 4, 8, 16, 32 or 64 rows, one of each "
         "sequence; for a prompt's step of 512 tokens add --phase prefill"},
        {"prewarm m --shard 9/8",
         "prewarm: --shard '9/8' is no part of a whole; the second of four is 2/4"},
        {"prewarm", "prewarm: one of FILE, --recipes is needed"},
        {"cache statz",
         "cache: unknown command 'statz'; did you mean 'stats'? `hetune cache --help` lists all"},
    };
    for (const auto& [typed, line] : cases) {
        CAPTURE(typed);
        const CommandResult result = run_hetune(folder.path(), typed);
        CHECK(result.status == 2);
        CHECK(result.output == fmt::format("hetune: {}\n", line));
    }
    for (const char* typed : {"run m --backend vulkan", "plan m --arch gfx9000", "synth x --like y",
                              "autotune m --strategy magic", "run m --compiler gcc"}) {
        CAPTURE(typed);
        const CommandResult result = run_hetune(folder.path(), typed);
        CHECK(result.status == 2);
        CHECK(result.lines() == 1);
        CHECK(result.says("is unknown; known: "));
    }
}

TEST_CASE("a folder in the place of a file is called one") {
    TestFolder folder;
    const std::string name = folder.path().string();
    for (const std::string& typed :
         {"tokenize " + kTiny + " --text-file " + name, "template " + name,
          "template " + kTiny + " --variables " + name, "tune import " + name,
          "logits " + kTiny + " -o x --backend reference --tokens-file " + name,
          "cache verify " + name, "run " + kTiny + " -p a --chat-template " + name}) {
        CAPTURE(typed);
        const CommandResult result = run_hetune(folder.path() / "cache", typed);
        CHECK(result.status == 1);
        CHECK(result.lines() == 1);
        CHECK(result.says(name + ": is a folder"));
    }
}

TEST_CASE("what only plans refuses settings that nothing reads, too") {
    TestFolder folder;
    const std::string model = (folder.path() / "m.gguf").string();
    const auto hetune = [&](const std::string& arguments) {
        return run_hetune(folder.path() / "cache", arguments);
    };
    REQUIRE(hetune("synth --like qwen3-0.6b --header-only " + model).status == 0);
    {
        std::fstream file(model, std::ios::in | std::ios::out | std::ios::binary);
        std::string text(1 << 16, '\0');
        file.read(text.data(), static_cast<std::streamsize>(text.size()));
        const size_t key = text.find("qwen3.vocab_size");
        REQUIRE(key != std::string::npos);
        file.clear();
        file.seekp(static_cast<std::streamoff>(key)).write("qwen3.unread_key", 16);
    }
    for (const std::string typed : {"plan --arch gfx1100 ", "prewarm --dry-run --arch gfx1100 ",
                                    "autotune --arch gfx1100 --budget 1s "}) {
        CAPTURE(typed);
        const CommandResult result = hetune(typed + model);
        CHECK(result.status == 1);
        CHECK(result.says("nothing reads qwen3.unread_key"));
    }
    const CommandResult allowed = hetune("plan --arch gfx1100 --allow-unused " + model);
    CHECK(allowed.status == 0);
    CHECK(allowed.says("warning"));
}

TEST_CASE("a file without a vocabulary is called what it is") {
    TestFolder folder;
    GgufWriter writer;
    const std::string name = (folder.path() / "m.gguf").string();
    writer.set("general.type", "imatrix").set("general.architecture", "llama").write(name);
    CHECK(run_hetune(folder.path() / "cache", "tokenize --text a " + name)
              .says("is an importance matrix"));
}

TEST_CASE("a result that stdout does not take is a failure with one line") {
    TestFolder folder;
    for (const std::string& command :
         {std::string("--help"), std::string("--version"), "inspect " + kTiny,
          "inspect --json " + kTiny, "tokenize --text a " + kTiny, "plan --arch gfx1100 " + kTiny,
          "run --backend reference -n 1 -p a -q " + kTiny}) {
        CAPTURE(command);
        const CommandResult full = run_hetune(folder.path(), command + " >/dev/full");
        CHECK(full.status == 1);
        CHECK(full.output ==
              "hetune: the result cannot be written to stdout: No space left on device\n");
        const CommandResult closed = run_hetune(folder.path(), command + " >&-");
        CHECK(closed.status == 1);
        CHECK(closed.lines() == 1);
    }
}

TEST_CASE("a conversation whose answers stdout does not take ends with one line") {
    TestFolder folder;
    for (const char* stdout_of : {">/dev/full", ">&-"}) {
        std::ofstream(folder.path() / "typed") << "Hello\nHello\n";
        const CommandResult result = run_hetune(
            folder.path(), fmt::format("run -q -n 1 --backend reference --chat-template chatml {} "
                                       "<'{}' {}",
                                       kTiny, (folder.path() / "typed").string(), stdout_of));
        CHECK(result.status == 1);
        CHECK(result.lines() == 1);
        CHECK(result.says("hetune: the result cannot be written to stdout: "));
    }
}

TEST_CASE("names of files that are no UTF-8 stand in JSON as well as they can") {
    TestFolder folder;
    const std::string path = folder.path() / "\xff.gguf";
    std::filesystem::copy_file(kTiny, path);
    for (const char* command : {"inspect --json", "plan --json --arch gfx1100"}) {
        const CommandResult result =
            run_hetune(folder.path(), fmt::format("{} '{}'", command, path));
        CAPTURE(command);
        CHECK(result.status == 0);
        CHECK(result.json().is_object());
    }
}

TEST_CASE("an output file is whole or not there, and what is no regular file is written to") {
    TestFolder folder;
    const std::filesystem::path out = folder.path() / "out";
    const auto files = [&] {
        return std::distance(std::filesystem::directory_iterator(folder.path() / "empty"), {});
    };
    std::filesystem::create_directory(folder.path() / "empty");
    const std::string synth = "synth --like qwen3-0.6b --layers 1 --header-only ";
    const std::string logits = "logits --backend reference " + kTiny + " ";
    const std::string page = "plan --arch gfx1100 " + kTiny + " --html ";
    // Failures leave nothing, and an old file as it was.
    const std::string target = (folder.path() / "empty" / "x").string();
    CHECK(run_hetune(folder.path(), logits + "--tokens 99999999 -o " + target).status == 1);
    CHECK(files() == 0);
    std::ofstream(target) << "old";
    CHECK(run_hetune(folder.path(), logits + "--tokens 99999999 -o " + target).status == 1);
    CHECK(std::filesystem::file_size(target) == 3);
    CHECK(run_hetune(folder.path(), logits + "--tokens 1 -o " + target).status == 0);
    CHECK(std::filesystem::file_size(target) > 3);
    CHECK(files() == 1);
    // A FIFO stays one, and its reader gets all of it.
    for (const std::string& command : {synth, logits + "--tokens 1 -o ", page}) {
        CAPTURE(command);
        std::filesystem::remove(out);
        REQUIRE(
            run_hetune(folder.path(), command + "'" + out.string() + "' >/dev/null 2>&1").status ==
            0);
        const auto bytes = std::filesystem::file_size(out);
        std::filesystem::remove(out);
        REQUIRE(mkfifo(out.c_str(), 0600) == 0);
        const CommandResult piped = run_hetune(
            folder.path(), fmt::format("{0}'{1}' >/dev/null 2>&1 & wc -c < '{1}'; wait $!", command,
                                       out.string()));
        CHECK(std::filesystem::is_fifo(out));
        CHECK(std::stoul(piped.output) == bytes);
        const CommandResult full = run_hetune(folder.path(), command + "/dev/full");
        CHECK(full.status == 1);
        CHECK(full.lines() <= 2);
        CHECK(full.says("/dev/full: cannot be written: No space left on device"));
    }
    const auto described = run_hetune(folder.path(), synth + target + " --json").json();
    CHECK(described["bytes"] == std::filesystem::file_size(target));
}

TEST_CASE("plan, tune and the static model need no compiler") {
    TestFolder folder;
    const auto run = [&](const std::string& arguments) {
        const CommandResult result =
            run_hetune(folder.path() / "cache", arguments, "PATH=/nowhere HETUNE_TUNE=all");
        CAPTURE(arguments);
        CAPTURE(result.output);
        CHECK(result.status == 0);
        return result;
    };
    run("autotune " + kTiny + " --arch gfx1100 --kernel 'gemv*' --rows 1");
    const CommandResult plan = run("plan --arch gfx1100 " + kTiny);
    CHECK(plan.says("predicted floor us"));
    CHECK(plan.says("predicted roofline of gfx1100"));
    CHECK_FALSE(plan.says("stale"));  // there is no compiler to compare with
    CHECK(run("tune ls").says("gemv"));
    const std::string file = folder.path() / "tunings.json";
    run("tune export -o " + file);
    run("tune import " + file);
    run("tune reset --yes");
    // Which arch was taken, and why, in one line.
    const CommandResult here = run("plan " + kTiny + " 2>&1 >/dev/null");
    CHECK(here.lines() == 1);
    CHECK(here.says("hetune: for "));
    CHECK(here.says("--arch names another"));
}

TEST_CASE("the second Ctrl-C ends a command at once, whatever it waits for") {
    TestFolder folder;
    const std::string prefix = folder.path() / "saved";
    REQUIRE(mkfifo((prefix + ".txt").c_str(), 0600) == 0);  // nobody reads it
    const std::string program = HETUNE_BUILD_DIR "/bin/hetune";
    const pid_t child = fork();
    if (child == 0) {
        execl(program.c_str(), "hetune", "bench", kTiny.c_str(), "--save", prefix.c_str(), nullptr);
        _exit(127);
    }
    // Behind its exec(): until then it has the handlers of this test.
    const auto catches = [&] {
        std::error_code none;
        if (std::filesystem::read_symlink(fmt::format("/proc/{}/exe", child), none).filename() !=
            "hetune")
            return false;
        std::ifstream status(fmt::format("/proc/{}/status", child));
        for (std::string line; std::getline(status, line);)
            if (line.starts_with("SigCgt:"))
                return (std::stoull(line.substr(7), nullptr, 16) >> (SIGINT - 1) & 1) != 0;
        return false;
    };
    int status = 0;
    for (int i = 0; i < 1000 && !catches(); ++i) usleep(10'000);
    REQUIRE(catches());
    for (int i = 0; i < 1000 && waitpid(child, &status, WNOHANG) == 0; ++i) {
        kill(child, SIGINT);
        usleep(10'000);
    }
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 130);
}

TEST_CASE("what --no-jit lacks is said with the command that makes it") {
    TestFolder folder;
    const CommandResult result = run_hetune(
        folder.path(), "run " + kTiny + " --backend cpu --no-jit --kv q8 --activations f32 -p a");
    CHECK(result.status == 1);
    // Without a compiler there is another reason before this one.
    if (result.says("are not in the cache"))
        CHECK(result.says("hetune prewarm " + kTiny + " --kv q8 --activations f32 --arch "));
}

TEST_CASE("stderr may be closed or full, and a reader of stdout may go early") {
    TestFolder folder;
    const std::string run = "run --backend reference -n 1 -p a " + kTiny;
    const std::string text = run_hetune(folder.path(), run + " 2>/dev/null").output;
    CHECK(run_hetune(folder.path(), run + " 2>/dev/full").output == text);
    CHECK(run_hetune(folder.path(), run + " 2>&-").output == text);
    CHECK(run_hetune(folder.path(), "run /nowhere 2>/dev/full").status == 1);
    CHECK(run_hetune(folder.path(), "nonsense 2>&-").status == 2);
    CHECK(
        run_hetune(folder.path(), "plan --json --arch gfx1100 " + kTiny + " | head -c 1").output ==
        "{");
}

TEST_CASE("help names a command, and its options") {
    TestFolder folder;
    CHECK(run_hetune(folder.path(), "help").output == run_hetune(folder.path(), "--help").output);
    const CommandResult help = run_hetune(folder.path(), "help cache stats");
    CHECK(help.status == 0);
    CHECK(help.output == run_hetune(folder.path(), "cache stats --help").output);
}

TEST_CASE("a prompt longer than the context is an error before it is printed") {
    TestFolder folder;
    const CommandResult result = run_hetune(
        folder.path(), "run --backend reference -c 4 -p 'one two three four five six' " + kTiny);
    CHECK(result.status == 1);
    CHECK(result.says("tokens, but the context holds 4; give --ctx "));
    CHECK(!result.says("one two"));
}

TEST_CASE("devices lists the CPU without an index, and says why a backend has none") {
    TestFolder folder;
    const std::string no_gpu = "HETUNE_HIP_LIBRARY=/nowhere/libamdhip64.so";
    const auto listed = run_hetune(folder.path(), "devices --json", no_gpu).json();
    const auto& cpu = listed["devices"].back();
    CHECK(cpu["backend"] == "cpu");
    CHECK(cpu["index"].is_null());
    CHECK(cpu["memory_bytes"] > 0);
    CHECK(cpu["unusable"] == "");
    CHECK(std::ranges::any_of(listed["missing"], [](const auto& line) {
        return line.template get<std::string>().starts_with("hip: no /nowhere/libamdhip64.so");
    }));
    const CommandResult text = run_hetune(folder.path(), "devices", no_gpu);
    CHECK(text.status == 0);
    CHECK(text.says("no hip: no /nowhere/libamdhip64.so"));
}

TEST_CASE("errors of the library name the command's options, and wrong values exit 2") {
    TestFolder folder;
    const CommandResult device =
        run_hetune(folder.path(), "run '" + kTiny + "' --device 99 -p a -n 1");
    CHECK(device.status == 2);
    CHECK(device.says("hetune: --device is 99, but there "));
    const CommandResult memory = run_hetune(
        folder.path(), "run '" + kTiny + "' --backend cpu -c 2048 --memory-limit 10M -p a -n 1");
    CHECK(memory.status == 1);
    CHECK(memory.says("KV cache, 2048 tokens"));
    CHECK(memory.says("together"));
    CHECK(memory.says("The largest context that fits: --ctx 8"));
    CHECK(!memory.says("ModelOptions"));
    const CommandResult bench = run_hetune(
        folder.path(), "bench '" + kTiny + "' --backend cpu -p 2040 -n 8 --memory-limit 10M");
    CHECK(bench.status == 1);
    CHECK(bench.says("KV cache, 2042 tokens"));
    CHECK(bench.says("The largest context that fits: --ctx 8"));
}

TEST_CASE("embed takes a text from each line of a file or of stdin, and says which one is wrong") {
    TestFolder folder;
    const auto input_file = folder.path() / "input";
    const auto embed = [&](const std::string& input, const std::string& options) {
        std::ofstream(input_file) << input;
        return run_hetune(folder.path(), fmt::format("embed '{}' --backend reference -q {} < '{}'",
                                                     kTiny, options, input_file.string()));
    };
    const CommandResult one = embed("", "-p 'a cat'"), other = embed("", "-p dogs");
    REQUIRE(one.status == 0);
    CHECK(one.lines() == 1);
    CHECK(one.output != other.output);
    CHECK(embed("a cat\n\ndogs", "-f -").output == one.output + other.output);
    CHECK(embed("a cat\r\ndogs\r", "-f -").output == one.output + other.output);
    const CommandResult none = embed("\n", "-f -");
    CHECK(none.status == 1);
    CHECK(none.output == "hetune: -: has no line of text\n");
    const CommandResult two = embed("", "-p a -p '" + std::string(300, 'x') + "' --ctx 16 2>&1");
    CHECK(two.status == 1);
    CHECK(two.says("hetune: text 2 of 2: "));
    CHECK(two.says(" do not fit into the context of 16 tokens; a larger --ctx would hold them"));
    CHECK(embed("", "-f /nowhere").says("hetune: /nowhere: cannot be read: No such file"));
    CHECK(embed("", "").status == 2);
}

TEST_CASE("every command has help with an example") {
    TestFolder folder;
    for (const char* name : {"run", "inspect", "tokenize", "logits", "verify", "plan", "bench",
                             "synth", "cache", "prewarm"}) {
        CAPTURE(name);
        const CommandResult help = run_hetune(folder.path(), fmt::format("{} --help", name));
        CHECK(help.status == 0);
        CHECK(help.says("Example"));
    }
}

TEST_CASE("logits writes float32 rows: all, by decoding, or the last") {
    TestFolder folder;
    const auto bytes = [&](const std::string& options) {
        const auto out = folder.path() / "out.f32";
        const CommandResult result =
            run_hetune(folder.path(),
                       fmt::format("logits {} --backend reference --tokens 1,2,3,4,5 --out {} {}",
                                   kTiny, out.string(), options));
        CHECK(result.status == 0);
        std::ifstream file(out, std::ios::binary);
        return std::string((std::istreambuf_iterator<char>(file)), {});
    };
    const std::string all = bytes("");
    REQUIRE(all.size() % (5 * sizeof(float)) == 0);
    CHECK(bytes("--last") == all.substr(all.size() / 5 * 4));
    CHECK(bytes("--one-by-one") == all);
    const auto described =
        run_hetune(folder.path(),
                   fmt::format("logits {} --backend reference --tokens '[1, 2]' --json --out {}",
                               kTiny, (folder.path() / "x.f32").string()));
    CHECK(described.json()["positions"] == 2);
    CHECK(described.json()["vocabulary"].get<size_t>() * 20 == all.size());
}

TEST_CASE("logits refuses tokens that are none, too many tokens, and a file it cannot write") {
    TestFolder folder;
    const auto refused = [&](const std::string& options, const char* word, int status = 1) {
        const CommandResult result = run_hetune(
            folder.path(), fmt::format("logits {} --backend reference {}", kTiny, options));
        CAPTURE(options);
        CHECK(result.status == status);
        CHECK(result.lines() == 1);
        CHECK(result.says(word));
    };
    const std::string out = "--out " + (folder.path() / "x").string();
    refused("--tokens 1,x " + out, "'x'", 2);
    refused("--tokens 99999999 " + out, "99999999");
    refused("--ctx 2 --tokens 1,2,3 " + out, "--ctx 3");
    refused("--tokens-file /nowhere " + out, "/nowhere");
    refused("--tokens 1 --out /nowhere/x", "/nowhere/x");
}

TEST_CASE("plan needs no GPU: steps, JSON, and the source of a kernel by its name") {
    TestFolder folder;
    const auto plan = [&](const std::string& options) {
        return run_hetune(folder.path(), fmt::format("plan {} --arch gfx1100 {}", kTiny, options));
    };
    const CommandResult text = plan("--prefill");
    CHECK(text.status == 0);
    CHECK(text.says("512 rows"));
    CHECK(text.says("sample.0"));
    const auto json = plan("--json").json();
    CHECK(json["arch"] == "gfx1100");
    CHECK(json["kernels"].back()["name"] == "sample.0");
    for (const auto& kernel : json["kernels"]) {
        const CommandResult source = plan("--source " + kernel["name"].get<std::string>());
        CHECK(source.status == 0);
        CHECK(source.says("extern \"C\""));
    }
    const CommandResult unknown = plan("--source gemv.99");
    CHECK(unknown.status == 1);
    CHECK(unknown.lines() == 1);
    CHECK(unknown.says("sample.0"));
    CHECK(run_hetune(folder.path(), fmt::format("plan {} --arch gfx9999", kTiny)).status == 2);
    CHECK(plan("--prefill --rows 3").says(": 3 rows, "));
    const CommandResult batch = plan("--rows 8 -c 100");
    CHECK(batch.says(": 8 rows of 8 sequences that decode, "));
    CHECK(batch.says("KV cache, 8 x 100 tokens"));
    const auto batch_json = plan("--rows 8 -c 100 --json").json();
    CHECK(batch_json["sequences"] == 8);
    CHECK(batch_json["memory"]["parallel"] == 8);
    CHECK(json["memory"]["parallel"] == 1);
    CHECK(plan("--rows 8 --parallel 16 --json").json()["memory"]["parallel"] == 16);
    CHECK(plan("--json --isa sample.0").status == 2);
}

TEST_CASE("verify compares with the oracle, which agrees with itself") {
    TestFolder folder;
    const auto report =
        run_hetune(folder.path(),
                   fmt::format("verify {} --backend reference --rows 16 --json", kTiny))
            .json();
    CHECK(report["tokens"] == 16);
    CHECK(report["mean_kl"] == 0);
    CHECK(report["top1"] == 100);
    CHECK(report["passed"] == true);
}

// The tiny model with a chat template: one more entry in front of its metadata, of a length that
// leaves the tensors aligned.
std::string tiny_with_chat(const TestFolder& folder) {
    std::ifstream from(kTiny, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(from)), {});
    std::string text =
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>{##}";
    const std::string key = "tokenizer.chat_template";
    const auto number = [](auto value) {
        return std::string(reinterpret_cast<const char*>(&value), sizeof value);
    };
    text.insert(text.size() - 2, (32 - (8 + key.size() + 4 + 8 + text.size()) % 32) % 32, ' ');
    ++bytes[16];  // the number of entries
    bytes.insert(24, number(uint64_t{key.size()}) + key + number(uint32_t{8}) +
                         number(uint64_t{text.size()}) + text);
    const std::string path = folder.path() / "chat.gguf";
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
}

TEST_CASE("a turn that fails makes a conversation from a file fail; no chat template is said") {
    TestFolder folder;
    const auto chat = [&](const std::string& model, const std::string& turns) {
        std::ofstream(folder.path() / "asked") << turns << '\n';
        return run_hetune(folder.path(),
                          fmt::format("run {} --backend reference -c 24 -n 1 -q < {}", model,
                                      (folder.path() / "asked").string()));
    };
    const std::string model = tiny_with_chat(folder);
    CHECK(chat(model, "Hi").status == 0);
    const CommandResult too_long = chat(model, std::string(200, 'x'));
    CHECK(too_long.status == 1);
    CHECK(too_long.says("do not fit into the context of 24"));
    CHECK(chat(kTiny, "Hi").says("has no chat template"));
    CHECK_FALSE(chat(kTiny + " --chat-template chatml", "Hi").says("chat template"));
}

TEST_CASE("a conversation asks for another answer with /regen and takes turns back with /undo") {
    TestFolder folder;
    const std::string model = tiny_with_chat(folder);
    std::ofstream(folder.path() / "turns")
        << "Hello\n/regen\nMore\n/undo\nMore\n/undo\n/undo\n/undo\n/regen\n\n";
    const std::string cut = "The answer was cut at 3 tokens (-n).\n";
    const auto answers = [&](const std::string& options) {
        const CommandResult result = run_hetune(
            folder.path(), fmt::format("run {} --backend reference -c 128 -n 3 -q {} < {}", model,
                                       options, (folder.path() / "turns").string()));
        CAPTURE(result.output);
        CHECK(result.status == 0);
        std::vector<std::string> parts;  // the answers, and what stands behind the last one
        size_t start = 0;
        for (size_t end; (end = result.output.find(cut, start)) != std::string::npos;
             start = end + cut.size())
            parts.push_back(result.output.substr(start, end - start));
        parts.push_back(result.output.substr(start));
        return parts;
    };
    const auto drawn = answers("--temp 0.8 --seed 1");
    REQUIRE(drawn.size() == 5);
    CHECK(drawn[0] != drawn[1]);
    CHECK(drawn[2] == drawn[3]);  // the same turn, with the same seed
    CHECK(drawn[4] == "There is no turn to take back.\nThere is no answer yet.\n");

    const std::string same =
        "At temperature 0 the answer would be the same; start with --temp 0.8.\n";
    const auto greedy = answers("");
    REQUIRE(greedy.size() == 4);
    REQUIRE(greedy[1].starts_with(same));
    CHECK(greedy[1].substr(same.size()) == greedy[2]);
    CHECK(greedy[3] == "There is no turn to take back.\n" + same);
}

}  // namespace
}  // namespace hetune
