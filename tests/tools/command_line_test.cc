// What every subcommand of `hetune` has in common: exit codes, help, one line for an error.
#include <doctest/doctest.h>

#include <fstream>

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
    const auto refused = [&](const std::string& options, const char* word) {
        const CommandResult result = run_hetune(
            folder.path(), fmt::format("logits {} --backend reference {}", kTiny, options));
        CAPTURE(options);
        CHECK(result.status == 1);
        CHECK(result.lines() == 1);
        CHECK(result.says(word));
    };
    const std::string out = "--out " + (folder.path() / "x").string();
    refused("--tokens 1,x " + out, "'x'");
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
    CHECK(run_hetune(folder.path(), fmt::format("plan {} --arch gfx9999", kTiny)).status == 1);
    CHECK(plan("--prefill --rows 3").status == 2);
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

TEST_CASE("a conversation asks for another answer with /regen and takes turns back with /undo") {
    TestFolder folder;
    const std::string model = tiny_with_chat(folder);
    std::ofstream(folder.path() / "turns")
        << "Hello\n/regen\nMore\n/undo\nMore\n/undo\n/undo\n/undo\n/regen\n\n";
    const CommandResult result =
        run_hetune(folder.path(), fmt::format("run {} --backend reference -c 128 -n 3 -q < {}",
                                              model, (folder.path() / "turns").string()));
    CAPTURE(result.output);
    CHECK(result.status == 0);
    // Greedy, so that the same turn has the same answer.
    const size_t first_end = result.output.find('\n');
    const std::string first = result.output.substr(0, first_end + 1);
    const size_t more_end = result.output.find('\n', 2 * first.size());
    const std::string more =
        result.output.substr(2 * first.size(), more_end + 1 - 2 * first.size());
    CHECK(result.output == first + first + more + more +
                               "There is no turn to take back.\nThere is no answer yet.\n");
}

}  // namespace
}  // namespace hetune
