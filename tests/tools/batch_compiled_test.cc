// `hetune batch` on compiled kernels: many requests at once have the texts that each has alone.
#include "tests/run_store.h"
#include "tests/tools/batch_files.h"

namespace hetune {
namespace {

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

}  // namespace
}  // namespace hetune
