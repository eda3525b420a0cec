// `hetune batch` as a user runs it, on the oracle: requests, answers and errors.
#include <sys/file.h>

#include "tests/tools/batch_files.h"

namespace hetune {
namespace {

const std::string kTiny = HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf";

// A folder with requests, and the command on it.
struct Batch {
    TestFolder folder;
    std::filesystem::path requests = folder.path() / "in.jsonl";
    std::filesystem::path output = folder.path() / "out.jsonl";

    explicit Batch(const std::string& lines) { write_text(requests, lines); }
    CommandResult run(const std::string& options = "-q") {
        return run_hetune(folder.path() / "cache",
                          fmt::format("batch '{}' '{}' -o '{}' --backend reference {}", kTiny,
                                      requests.string(), output.string(), options));
    }
};

TEST_CASE("a batch has one answer for each request, in OpenAI's form") {
    Batch batch(completion("text", {{"model", "any"},
                                    {"prompt", "Ownership is a set"},
                                    {"max_tokens", 4},
                                    {"temperature", 0}}) +
                "\n  \n" +
                chat("chat", {{"messages", {{{"role", "user"}, {"content", "Ownership is a set"}}}},
                              {"max_tokens", 100},
                              {"max_completion_tokens", 3},
                              {"temperature", 0}}));
    const CommandResult result = batch.run("--json 2>/dev/null");
    CHECK(result.status == 0);
    const auto summary = result.json();
    CHECK(summary["requests"] == 2);
    CHECK(summary["answered"] == 2);
    CHECK(summary["answered_before"] == 0);
    CHECK(summary["failed"] == 0);
    CHECK(summary["left"] == 0);
    CHECK(summary["prompt_tokens"] == 6 + 16);
    CHECK(summary["generated_tokens"] == 4 + 3);
    CHECK(summary["tok_s"] > 0);

    const auto answers = answers_of(batch.output);
    REQUIRE(answers.size() == 2);
    for (const auto& [id, line] : answers) {
        CAPTURE(id);
        CHECK(line["id"].get<std::string>().starts_with("batch_req_"));
        CHECK(line["error"] == nullptr);
        CHECK(line["response"]["status_code"] == 200);
        CHECK(line["response"]["request_id"].get<std::string>().starts_with("req_"));
        const Json& body = line["response"]["body"];
        CHECK(body["created"].get<int64_t>() > 1'700'000'000);
        CHECK(body["choices"].size() == 1);
        CHECK(body["choices"][0]["index"] == 0);
        CHECK(body["choices"][0]["finish_reason"] == "length");
        CHECK(body["choices"][0]["logprobs"] == nullptr);
    }
    const Json& text = answers.at("text")["response"]["body"];
    CHECK(text["object"] == "text_completion");
    CHECK(text["model"] == "any");
    CHECK(text["choices"][0]["text"] == " of features that are");
    CHECK(text["usage"]["prompt_tokens"] == 6);
    CHECK(text["usage"]["completion_tokens"] == 4);
    CHECK(text["usage"]["total_tokens"] == 10);
    const Json& chat = answers.at("chat")["response"]["body"];
    CHECK(chat["object"] == "chat.completion");
    CHECK(chat["model"] == "hetune-tiny-rustdoc");
    CHECK(chat["choices"][0]["message"] == Json{{"role", "assistant"}, {"content", "RFC,"}});
    CHECK(chat["usage"]["completion_tokens"] == 3);
}

TEST_CASE("a prompt is a text, token ids, or a list of one of these; a content may have parts") {
    const Json messages = {{{"role", "user"}, {"content", "one\ntwo"}}};
    const Json parts = {
        {{"role", "user"},
         {"content", {{{"type", "text"}, {"text", "one"}}, {{"type", "text"}, {"text", "two"}}}}}};
    const auto body = [](Json prompt) {
        return Json{{"prompt", std::move(prompt)}, {"max_tokens", 3}, {"temperature", 0}};
    };
    Batch batch(completion("text", body("Ownership")) +
                completion("list", body(Json::array({"Ownership"}))) +
                completion("ids", body({10, 20, 30})) +
                completion("list of ids", body(Json::array({{10, 20, 30}}))) +
                chat("chat", {{"messages", messages}, {"max_tokens", 3}, {"temperature", 0}}) +
                chat("parts", {{"messages", parts}, {"max_tokens", 3}, {"temperature", 0}}));
    CHECK(batch.run().status == 0);
    auto texts = texts_of(batch.output);
    REQUIRE(texts.size() == 6);
    CHECK(texts["text"] == texts["list"]);
    CHECK(texts["ids"] == texts["list of ids"]);
    CHECK(texts["chat"] == texts["parts"]);
    CHECK(texts["text"] != texts["ids"]);
}

TEST_CASE("a wrong request has an error that names the field, and the rest go on") {
    struct Case {
        const char* url;
        std::string body, field, message;
    };
    constexpr const char* kChat = "/v1/chat/completions";
    constexpr const char* kText = "/v1/completions";
    const std::string kPrompt = "must be a text, a list of token ids, or a list of one of these";
    const Case cases[] = {
        {kText, "{}", "prompt", "prompt " + kPrompt},
        {kText, R"({"prompt":7})", "prompt", "prompt " + kPrompt},
        {kText, R"({"prompt":[1.5]})", "prompt", "prompt " + kPrompt},
        {kText, R"({"prompt":["a",1]})", "prompt",
         "prompt has 2 texts; give each a request of its own"},
        {kText, R"({"prompt":[-1]})", "prompt", "prompt has -1, which is no token id"},
        {kText, R"({"prompt":[4096]})", "", "token 4096 is outside the vocabulary of 4096"},
        {kText, R"({"prompt":[]})", "", "the prompt has no token"},
        {kText, R"({"prompt":"a","max_tokens":0})", "max_tokens",
         "max_tokens is 0; it must be 1 to 1073741824"},
        {kText, R"({"prompt":"a","max_tokens":"8"})", "max_tokens",
         "max_tokens must be a whole number"},
        {kText, R"({"prompt":"a","max_completion_tokens":1.5})", "max_completion_tokens",
         "max_completion_tokens must be a whole number"},
        {kText, R"({"prompt":"a","temperature":-1})", "temperature",
         "temperature is -1; it must be 0 to 100"},
        {kText, R"({"prompt":"a","temperature":"hot"})", "temperature",
         "temperature must be a number"},
        {kText, R"({"prompt":"a","top_p":0})", "top_p", "top_p is 0; it must be 1e-06 to 1"},
        {kText, R"({"prompt":"a","top_k":-2})", "top_k",
         "top_k is -2; it must be -1 to 1073741824"},
        {kText, R"({"prompt":"a","min_p":2})", "min_p", "min_p is 2; it must be 0 to 1"},
        {kText, R"({"prompt":"a","repetition_penalty":0})", "repetition_penalty",
         "repetition_penalty is 0; it must be 0.01 to 100"},
        {kText, R"({"prompt":"a","repeat_penalty":0})", "repeat_penalty",
         "repeat_penalty is 0; it must be 0.01 to 100"},
        {kText, R"({"prompt":"a","repeat_window":5000})", "repeat_window",
         "repeat_window is 5000; it must be 0 to 1024"},
        {kText, R"({"prompt":"a","seed":18446744073709551615})", "seed",
         "seed must be a whole number"},
        {kText, R"({"prompt":"a","stop":[""]})", "stop",
         "stop must be a text or a list of texts, none of them empty"},
        {kText, R"({"prompt":"a","n":2})", "n",
         "n must be 1; several answers are several requests, each with a seed"},
        {kText, R"({"prompt":"a","logprobs":21})", "logprobs",
         "logprobs is 21; it must be 0 to 20"},
        {kText, R"({"prompt":"a","echo":true})", "echo", "echo is not supported"},
        {kText, R"({"prompt":"a","presence_penalty":0.5})", "presence_penalty",
         "presence_penalty is not supported"},
        {kText, R"({"prompt":"a","model":7})", "model", "model must be a string"},
        {kText, R"({"prompt":"a","ignore_eos":1})", "ignore_eos",
         "ignore_eos must be true or false"},
        {kText, "7", "body", "body must be an object"},
        {kChat, "{}", "messages", "messages must be a list of at least one message"},
        {kChat, R"({"messages":[]})", "messages",
         "messages must be a list of at least one message"},
        {kChat, R"({"messages":[7]})", "messages[0]",
         "messages[0] must be an object with role and content"},
        {kChat, R"({"messages":[{"content":"a"}]})", "messages[0].role",
         "messages[0].role must be a text, as \"user\""},
        {kChat, R"({"messages":[{"role":"user"}]})", "messages[0].content",
         "messages[0].content must be a text or a list of text parts"},
        {kChat, R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})",
         "messages[0].content[0]",
         "messages[0].content[0] must be {\"type\": \"text\", \"text\": \"...\"}; no other kind "
         "of part is supported"},
        {kChat, R"({"messages":[{"role":"user","content":"a"}],"tools":[{}]})", "tools",
         "tools is not supported"},
        {kChat, R"({"messages":[{"role":"user","content":"a"}],"top_logprobs":2})", "top_logprobs",
         "top_logprobs needs \"logprobs\": true"},
        {kChat,
         R"({"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_object"}})",
         "response_format", "response_format must be {\"type\": \"text\"}; no other is supported"},
        {kChat, R"({"messages":[{"role":"user","content":"a"}],"chat_template_kwargs":[]})",
         "chat_template_kwargs", "chat_template_kwargs must be an object"},
        {"/v1/embeddings", "{}", "url",
         "url must be \"/v1/chat/completions\" or \"/v1/completions\""},
    };
    std::string lines;
    for (size_t i = 0; i < std::size(cases); ++i)
        lines += request_line(std::to_string(i), cases[i].url, Json::parse(cases[i].body));
    lines += R"({"custom_id":"get","method":"GET","url":"/v1/completions","body":{}})"
             "\n";
    lines += completion("good", {{"prompt", "Ownership"}, {"max_tokens", 1}});
    Batch batch(lines);
    const CommandResult result = batch.run("--chat-template chatml");
    CHECK(result.status == 1);
    CHECK(result.says(fmt::format("{} of {} requests failed; the first, '", std::size(cases) + 1,
                                  std::size(cases) + 2)));

    const auto answers = answers_of(batch.output);
    CHECK(answers.size() == std::size(cases) + 2);
    for (size_t i = 0; i < std::size(cases); ++i) {
        CAPTURE(cases[i].body);
        const Json& line = answers.at(std::to_string(i));
        CHECK(line["response"]["status_code"] == 400);
        const Json& error = line["response"]["body"]["error"];
        CHECK(error["message"] == cases[i].message);
        CHECK(error["type"] == "invalid_request_error");
        CHECK(error["param"] == (cases[i].field.empty() ? Json() : Json(cases[i].field)));
        CHECK(line["error"]["message"] == cases[i].message);
    }
    CHECK(answers.at("get")["error"]["message"] == "method must be \"POST\"");
    CHECK(answers.at("good")["error"] == nullptr);
}

TEST_CASE("a prompt longer than the context is refused with its length and the option that helps") {
    Batch batch(completion("long", {{"prompt", Json(std::vector<int>(100, 7))}}));
    CHECK(batch.run("-q --ctx 32").status == 1);
    const std::string message = texts_of(batch.output)["long"];
    CHECK(message.find("100 tokens") != std::string::npos);
    CHECK(message.find("--ctx") != std::string::npos);
}

TEST_CASE("null, unknown fields, and unsupported ones that ask for nothing are taken") {
    Batch batch(completion("1", {{"prompt", "Ownership"},
                                 {"max_tokens", 2},
                                 {"temperature", nullptr},
                                 {"stop", nullptr},
                                 {"n", 1},
                                 {"top_k", -1},
                                 {"presence_penalty", 0},
                                 {"logit_bias", Json::object()},
                                 {"response_format", {{"type", "text"}}},
                                 {"echo", false},
                                 {"suffix", ""},
                                 {"user", "me"},
                                 {"stream", true},
                                 {"metadata", {{"a", 1}}}}));
    CHECK(batch.run().status == 0);
}

TEST_CASE("a stop string ends an answer in front of it, and is named as vLLM does") {
    Batch batch(completion("list", {{"prompt", "Ownership is a set"},
                                    {"max_tokens", 20},
                                    {"temperature", 0},
                                    {"stop", {"nowhere", " that"}}}) +
                completion("text", {{"prompt", "Ownership is a set"},
                                    {"max_tokens", 20},
                                    {"temperature", 0},
                                    {"stop", " features"}}));
    CHECK(batch.run().status == 0);
    auto answers = answers_of(batch.output);
    const Json& choice = answers["list"]["response"]["body"]["choices"][0];
    CHECK(choice["text"] == " of features");
    CHECK(choice["finish_reason"] == "stop");
    CHECK(choice["stop_reason"] == " that");
    CHECK(texts_of(batch.output)["text"] == " of");
}

TEST_CASE("logprobs have the texts of tokens, their bytes, and the most likely ones") {
    Batch batch(completion("text", {{"prompt", "Ownership is a set"},
                                    {"max_tokens", 3},
                                    {"temperature", 0},
                                    {"logprobs", 2}}) +
                chat("chat", {{"messages", {{{"role", "user"}, {"content", "é"}}}},
                              {"max_tokens", 3},
                              {"temperature", 0},
                              {"logprobs", true},
                              {"top_logprobs", 2}}) +
                chat("none", {{"messages", {{{"role", "user"}, {"content", "é"}}}},
                              {"max_tokens", 3},
                              {"temperature", 0},
                              {"logprobs", true}}));
    CHECK(batch.run("-q --chat-template chatml").status == 0);
    auto answers = answers_of(batch.output);
    const Json& text = answers["text"]["response"]["body"]["choices"][0];
    const Json& logprobs = text["logprobs"];
    CHECK(logprobs["tokens"] == Json{" of", " features", " that"});
    CHECK(logprobs["text_offset"] == Json{0, 3, 12});
    REQUIRE(logprobs["top_logprobs"].size() == 3);
    for (size_t i = 0; i < 3; ++i) {
        CHECK(logprobs["top_logprobs"][i].size() == 2);
        CHECK(logprobs["top_logprobs"][i][logprobs["tokens"][i].get<std::string>()] ==
              logprobs["token_logprobs"][i]);
        CHECK(logprobs["token_logprobs"][i] < 0);
    }
    const Json& chat = answers["chat"]["response"]["body"]["choices"][0];
    std::string joined;
    REQUIRE(chat["logprobs"]["content"].size() == 3);
    for (const Json& token : chat["logprobs"]["content"]) {
        for (const Json& byte : token["bytes"]) joined += static_cast<char>(byte.get<int>());
        CHECK(token["top_logprobs"].size() == 2);
        CHECK(token["top_logprobs"][0]["token"] == token["token"]);
        CHECK(token["top_logprobs"][0]["logprob"] >= token["top_logprobs"][1]["logprob"]);
    }
    CHECK(joined == chat["message"]["content"]);
    const Json& none = answers["none"]["response"]["body"]["choices"][0];
    CHECK(none["logprobs"]["content"][0]["top_logprobs"].empty());
}

TEST_CASE("without a seed, draws differ between requests and are the same in every run") {
    std::string lines;
    for (const char* id : {"a", "b", "c"})
        lines += completion(id, {{"prompt", "Ownership"}, {"max_tokens", 8}});
    Batch first(lines), second(lines);
    CHECK(first.run().status == 0);
    CHECK(second.run("-q --parallel 1").status == 0);
    auto texts = texts_of(first.output);
    CHECK(texts == texts_of(second.output));
    CHECK((texts["a"] != texts["b"] || texts["b"] != texts["c"]));
}

TEST_CASE("what no answer could be tied to is an error before anything runs") {
    const std::string good = completion("a", {{"prompt", "x"}});
    const std::pair<std::string, std::string> cases[] = {
        {good + "{\"custom_id\":\n", "line 2: it is no JSON (byte 15 of 14); each line is one"},
        {good + "\n" + completion("a", {}), "lines 1 and 3 have the same custom_id 'a'"},
        {good + "{}", "line 2: it lacks 'custom_id'; each line is one request, as {\"custom_id\""},
        {"{\"custom_id\":7}", "line 1: its 'custom_id' has a value of the wrong kind"},
        {"{\"custom_id\":\"\"}", "line 1: its 'custom_id' is empty"},
        {"[]", "line 1: it is no JSON object"},
        {"{\"custom_id\":" + std::string(1000, '[') + "}", "nests deeper than 128 levels"},
    };
    for (const auto& [lines, message] : cases) {
        CAPTURE(lines);
        Batch batch(lines);
        const CommandResult result = batch.run();
        CHECK(result.status == 1);
        CHECK(result.lines() == 1);
        CHECK(result.says(message));
        CHECK_FALSE(std::filesystem::exists(batch.output));
    }
}

TEST_CASE("a file without requests is answered at once, without a model") {
    Batch batch("");
    const CommandResult result = batch.run("--json");
    CHECK(result.status == 0);
    CHECK(result.json()["requests"] == 0);
    CHECK(text_of(batch.output).empty());
}

TEST_CASE("requests come from stdin, too, and answers go to a pipe") {
    Batch batch(completion("a", {{"prompt", "x"}, {"max_tokens", 1}}) +
                completion("b", {{"prompt", "x"}, {"max_tokens", 1}}));
    const auto hetune = [&](const std::string& arguments) {
        return run_hetune(batch.folder.path() / "cache",
                          fmt::format("batch '{}' -q --backend reference {}", kTiny, arguments));
    };
    const std::string in = batch.requests.string(), out = batch.output.string();
    CHECK(hetune(fmt::format("- -o '{}' <'{}'", out, in)).status == 0);
    CHECK(answers_of(batch.output).size() == 2);
    // A pipe on both sides: the second command of the shell.
    const CommandResult piped = run_hetune(
        batch.folder.path() / "cache",
        fmt::format("--version >/dev/null; cat '{}' | '{}/bin/hetune' batch '{}' -q --backend "
                    "reference - -o /dev/stdout | cat",
                    in, HETUNE_BUILD_DIR, kTiny));
    CHECK(piped.lines() == 2);
    const CommandResult full = hetune(fmt::format("'{}' -o /dev/full", in));
    CHECK(full.status == 1);
    CHECK(full.output == "hetune: batch: /dev/full: No space left on device\n");
}

TEST_CASE("wrong usage of batch exits 2 and a missing file exits 1, each with one line") {
    Batch batch(completion("a", {{"prompt", "x"}}));
    const std::string in = batch.requests.string();
    const auto hetune = [&](const std::string& arguments) {
        return run_hetune(batch.folder.path() / "cache", "batch " + arguments);
    };
    const std::pair<std::string, std::string> wrong[] = {
        {"m in", "batch: --output is missing; `hetune batch --help` has an example"},
        {"m -o out", "batch: REQUESTS is missing; `hetune batch --help` has an example"},
        {"m in -o ''", "batch: --output: the value is empty"},
        {"m in -o -",
         "batch: -o must be a file, which a later batch can go on with; /dev/stdout is stdout"},
        {"m in -o out --parallel 0", "batch: --parallel: 0 is not within 1 to 64"},
        {"m in -o out --limit 0", "batch: --limit: 0 is not within 1 to 1099511627776"},
        {"m in -o out --shard 0/4",
         "batch: --shard '0/4' is no part of a whole; the second of four is 2/4"},
        {"m in -o out --shard 5/4",
         "batch: --shard '5/4' is no part of a whole; the second of four is 2/4"},
        {fmt::format("m '{0}' -o '{0}'", in),
         fmt::format("batch: -o {} is the file of requests itself", in)},
    };
    for (const auto& [typed, line] : wrong) {
        CAPTURE(typed);
        const CommandResult result = hetune(typed);
        CHECK(result.status == 2);
        CHECK(result.output == fmt::format("hetune: {}\n", line));
    }
    const std::string folder = batch.folder.path().string();
    for (const auto& [typed, line] :
         {std::pair{std::string("m /nowhere.jsonl -o out"),
                    std::string("/nowhere.jsonl: cannot be read: No such file or directory")},
          {fmt::format("m '{}' -o out", folder), fmt::format("{}: is a folder", folder)},
          {fmt::format("m '{}' -o '{}'", in, folder), fmt::format("{}: is a folder", folder)},
          {fmt::format("m '{}' -o /nowhere/out", in),
           std::string("/nowhere/out: cannot be opened: No such file or directory")},
          {fmt::format("/nowhere.gguf '{}' -o '{}/out'", in, folder),
           std::string("/nowhere.gguf")}}) {
        CAPTURE(typed);
        const CommandResult result = hetune(typed);
        CHECK(result.status == 1);
        CHECK(result.lines() == 1);
        CHECK(result.says(line));
    }
}

}  // namespace
}  // namespace hetune
