// `hetune batch` on compiled kernels: many requests at once have the texts that each has alone.
#include "tests/cpu_arch.h"
#include "tests/planner/small_model.h"
#include "tests/run_store.h"
#include "tests/tools/batch_files.h"

namespace hetune {
namespace {

namespace fs = std::filesystem;

const std::string kTinyCompiled = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";

TEST_CASE("requests of a batch have the texts of hetune run, greedy and drawn") {
    struct Alone {
        std::string id, prompt, options;
        Json body;
        bool is_chat = false;
    };
    const std::string long_prompt = text_of(HETUNE_TEST_MODELS "/README.md").substr(0, 600);
    std::vector<Alone> all;
    for (const char* text : {"Ownership is a set of rules", "fn main() {", "A trait"})
        for (const bool is_chat : {false, true})
            for (const int seed : {-1, 7})
                all.push_back({.prompt = text, .body = {{"seed", seed}}, .is_chat = is_chat});
    all.push_back({.prompt = long_prompt, .body = {{"seed", -1}}});
    std::string lines;
    for (size_t i = 0; i < all.size(); ++i) {
        Alone& one = all[i];
        const int tokens = 9 + static_cast<int>(i) * 3;
        one.id = std::to_string(i);
        const int seed = one.body["seed"];
        one.body = {{"max_tokens", tokens}, {"temperature", 0}};
        one.options = fmt::format("-n {} {}", tokens, one.is_chat ? "--chat" : "");
        if (seed >= 0) {
            one.body.update({{"temperature", 0.9},
                             {"seed", seed},
                             {"top_p", 0.9},
                             {"min_p", 0.01},
                             {"top_k", 50},
                             {"repetition_penalty", 1.1}});
            one.options += fmt::format(
                " --temp 0.9 --seed {} --top-p 0.9 --min-p 0.01 --top-k 50 --repeat-penalty 1.1",
                seed);
        }
        if (one.is_chat)
            one.body["messages"] = {{{"role", "user"}, {"content", one.prompt}}};
        else
            one.body["prompt"] = one.prompt;
        lines += one.is_chat ? chat(one.id, one.body) : completion(one.id, one.body);
    }
    TestFolder folder;
    const auto in = folder.path() / "in.jsonl", out = folder.path() / "out.jsonl";
    write_text(in, lines);
    const std::string on_cpu = "-q --backend cpu --ctx 512 --chat-template chatml";
    const CommandResult batch =
        run_hetune(run_store(), fmt::format("batch '{}' '{}' -o '{}' --parallel 5 {}",
                                            kTinyCompiled, in.string(), out.string(), on_cpu));
    CHECK(batch.status == 0);
    CHECK(batch.output.empty());
    const auto texts = texts_of(out);
    REQUIRE(texts.size() == all.size());
    const auto prompt = folder.path() / "prompt";
    for (const Alone& one : all) {
        CAPTURE(one.id);
        write_text(prompt, one.prompt);
        const CommandResult alone = run_hetune(
            run_store(), fmt::format("run '{}' -p \"$(cat '{}')\" --json {} {} 2>/dev/null",
                                     kTinyCompiled, prompt.string(), on_cpu, one.options));
        REQUIRE(alone.status == 0);
        CHECK(texts.at(one.id) == alone.json()["text"]);
    }
}

TEST_CASE("a batch says what memory its contexts take, and refuses more than there is") {
    TestFolder folder;
    const auto in = folder.path() / "in.jsonl", out = folder.path() / "out.jsonl";
    write_text(in, completion("1", {{"prompt", "A"}, {"max_tokens", 2}}));
    const auto batch = [&](const std::string& options) {
        fs::remove(out);
        return run_hetune(run_store(),
                          fmt::format("batch '{}' '{}' -o '{}' --backend cpu {}", kTinyCompiled,
                                      in.string(), out.string(), options));
    };
    const CommandResult text = batch("--parallel 3 --ctx 100");
    CHECK(text.status == 0);
    CHECK(text.says("memory for --parallel 3 with --ctx 100:\n  weights "));
    CHECK(text.says("KV cache, 3 x 100 tokens"));
    CHECK(text.says("together"));
    const auto memory = batch("--parallel 3 --ctx 100 --json 2>/dev/null").json()["memory"];
    CHECK(memory["parallel"] == 3);
    CHECK(memory["context"] == 100);
    CHECK(memory["kv_pages"] == 3 * 2);
    int64_t sum = 0;
    for (const char* kind :
         {"weights", "kv", "state", "snapshots", "checkpoints", "activations", "code"})
        sum += memory[kind + std::string("_bytes")].get<int64_t>();
    CHECK(memory["total_bytes"] == sum);
    CHECK(sum > memory["kv_bytes"]);
    CHECK(memory["kv_bytes"] > 0);

    // Half as many sequences fit, and half the context.
    const int64_t limit = sum + memory["kv_bytes"].get<int64_t>() * 2;
    const CommandResult refused =
        batch(fmt::format("--parallel 18 --ctx 100 --memory-limit {}", limit));
    CHECK(refused.status == 1);
    CHECK(refused.says("KV cache, 18 x 100 tokens"));
    CHECK(refused.says("together"));
    REQUIRE(refused.says("With 100 tokens each fit: --parallel "));
    CHECK(!refused.says("ModelOptions"));
    // The number that it names does fit.
    const size_t at = refused.output.find("--parallel ") + 11;
    const int parallel = std::stoi(refused.output.substr(at));
    CHECK(parallel >= 3);
    CHECK(parallel < 18);
    CHECK(batch(fmt::format("--parallel {} --ctx 100 --memory-limit {}", parallel, limit)).status ==
          0);
    const CommandResult bench = run_hetune(
        run_store(), fmt::format("bench '{}' --backend cpu --parallel 2,18 -p 32 -n 60 --ctx 100 "
                                 "--memory-limit {}",
                                 kTinyCompiled, limit));
    CHECK(bench.status == 1);
    CHECK(bench.says("KV cache, 18 x 100 tokens"));
    CHECK(bench.says("With 100 tokens each fit: --parallel "));
}

TEST_CASE("a request takes over what any before it has in common with its prompt") {
    TestFolder folder;
    const auto in = folder.path() / "in.jsonl", out = folder.path() / "out.jsonl";
    const std::string prompt = text_of(HETUNE_TEST_MODELS "/README.md").substr(0, 400);
    std::string lines;
    for (const char* id : {"1", "2", "3", "4", "5"})
        lines += completion(id, {{"prompt", prompt + id}, {"max_tokens", 2}, {"temperature", 0}});
    write_text(in, lines);
    REQUIRE(
        run_hetune(run_store(), fmt::format("batch '{}' '{}' -o '{}' --backend cpu --parallel 2 "
                                            "--ctx 512 -q",
                                            kTinyCompiled, in.string(), out.string()))
            .status == 0);
    int computed = 0;
    for (const auto& [id, line] : answers_of(out)) {
        const Json& usage = line["response"]["body"]["usage"];
        if (usage["prompt_tokens_details"]["cached_tokens"] == 0) ++computed;
        CHECK(usage["prompt_tokens"] > 100);
    }
    CHECK(computed == 1);
}

// Requests whose answers take steps of two and of four rows.
std::string four_requests() {
    std::string lines;
    for (const char* id : {"1", "2", "3", "4"})
        lines += completion(
            id,
            {{"prompt", {0, 1, 2}}, {"max_tokens", 24}, {"temperature", 0}, {"ignore_eos", true}});
    return lines;
}

TEST_CASE("what prewarm, recipes and exports bring has the kernels of a batch's steps") {
    TestFolder folder;
    const auto path = [&](const char* name) { return (folder.path() / name).string(); };
    small_model(8).write(path("small.gguf"));
    write_text(path("in.jsonl"), four_requests());
    int tries = 0;
    // In an empty cache, with the kernels of a bundle alone.
    const auto batch_with = [&](const std::string& bundle) {
        ++tries;
        return run_hetune(folder.path() / fmt::format("empty{}", tries),
                          fmt::format("batch '{}' '{}' -o '{}{}' --parallel 4 --backend cpu "
                                      "--no-jit --ctx 64 -q",
                                      path("small.gguf"), path("in.jsonl"), path("out"), tries),
                          fmt::format("HETUNE_CACHE_PATH='{}'", bundle));
    };
    const auto serves = [&](const std::string& bundle) {
        const CommandResult result = batch_with(bundle);
        CAPTURE(bundle);
        CAPTURE(result.output);
        CHECK(result.status == 0);
    };
    const auto run = [&](const char* cache, const std::string& arguments) {
        const CommandResult result = run_hetune(
            folder.path() / cache, arguments, fmt::format("HETUNE_CACHE_PATH='{}'", path("warm")));
        CAPTURE(result.output);
        REQUIRE(result.status == 0);
        return result;
    };
    const std::string on = "--arch " + test::cpu_arch();
    run_hetune(folder.path() / "warm", fmt::format("prewarm '{}' {} --batch 4 -o '{}'",
                                                   path("small.gguf"), on, path("batch.htb")));
    serves(path("batch.htb"));
    CHECK(answers_of(path("out1")).size() == 4);
    CHECK(text_of(path("out1")).find("\"error\":null") != std::string::npos);

    run("one", fmt::format("prewarm '{}' {} -o '{}'", path("small.gguf"), on, path("one.htb")));
    const CommandResult one = batch_with(path("one.htb"));
    CHECK(one.status == 1);
    CHECK(one.says("kTokens=4"));

    // The recipes that a batch leaves, where a layer did not have all of its kernels.
    fs::copy(path("warm"), path("box"), fs::copy_options::recursive);
    const auto box = folder.path() / "box";
    REQUIRE(run_hetune(box, fmt::format("batch '{}' '{}' -o '{}' --parallel 4 --backend cpu "
                                        "--no-jit --ctx 64 -q",
                                        path("small.gguf"), path("in.jsonl"), path("box.jsonl")))
                .status == 0);
    const CommandResult recipes =
        run_hetune(box, fmt::format("cache recipes export -o '{}'", path("box.recipes")));
    CHECK(recipes.says("2 recipes"));
    run("farm", fmt::format("prewarm --recipes '{}' {} -o '{}'", path("box.recipes"), on,
                            path("farm.htb")));
    serves(path("farm.htb"));

    // And all that lies in a folder.
    CHECK(run_hetune(folder.path() / "warm", fmt::format("cache export -o '{}'", path("all.htb")))
              .status == 0);
    serves(path("all.htb"));
    REQUIRE(
        run_hetune(folder.path() / "imported", fmt::format("cache import '{}'", path("all.htb")))
            .status == 0);
    serves(path("imported"));
}

TEST_CASE("certify has the kernels of steps for several sequences, each tried out in such a step") {
    TestFolder folder;
    const std::string model = (folder.path() / "small.gguf").string();
    small_model(8).write(model);
    const auto kernels = [&](const std::string& options) {
        const CommandResult result =
            run_hetune(folder.path() / "cache",
                       fmt::format("certify '{}' --backend cpu --ctx 64 --json {} 2>/dev/null",
                                   model, options));
        REQUIRE(result.status == 0);
        std::map<std::string, Json> list;
        for (const auto report = result.json(); const auto& kernel : report["kernels"])
            list[kernel["kernel"]] = kernel;
        return list;
    };
    const auto one = kernels("");
    const auto four = kernels("--parallel 4");
    CHECK(four.size() > one.size());
    int of_four = 0;
    for (const auto& [name, kernel] : four) {
        CHECK_FALSE(kernel.contains("failure"));
        // A kernel of pages and states is tried again where a step has more sequences.
        if (!one.contains(name) || name.starts_with("attention_step"))
            CHECK_MESSAGE(kernel["fresh"] == true, name);
        else
            CHECK_MESSAGE(kernel["fresh"] == false, name);
        of_four += name.find("kTokens=4") != std::string::npos;
    }
    for (const auto& [name, kernel] : kernels("--parallel 4"))
        CHECK_MESSAGE(kernel["fresh"] == false, name);
    CHECK(of_four > 0);
}

}  // namespace
}  // namespace hetune
