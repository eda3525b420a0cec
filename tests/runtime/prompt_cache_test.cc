// Prompts that an earlier process computed, here an earlier Model: their pages and states come from
// files.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "cache/temp_file.h"
#include "planner/plan/device_sizes.h"
#include "runtime/api/model_host.h"
#include "runtime/oracle/logits_distance.h"
#include "tests/cache/test_folder.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

using Tokens = std::vector<int32_t>;
using Floats = std::vector<float>;

std::shared_ptr<ModelHost> load_with(const std::string& name, const TestFolder& folder,
                                     ModelOptions options = {}) {
    setenv("HETUNE_CACHE_DIR", run_store().c_str(), 1);
    // "cuda" on a machine with a GPU.
    const char* chosen = std::getenv("HETUNE_TEST_BACKEND");
    options.backend = chosen != nullptr ? chosen : "cpu";
    if (options.context == 0) options.context = 512;
    options.prefill_rows = 64;
    options.chat_template = "chatml";
    options.prompt_cache = folder.path();
    return std::make_shared<ModelHost>(kModels + "/" + name + "-Q4_K_M.gguf", options);
}

Tokens text_of(int count, int seed) {
    Tokens tokens;
    for (int i = 0; i < count; ++i) tokens.push_back((i * 37 + seed * 101 + 5) % 300);
    return tokens;
}

struct Answer {
    Tokens tokens;
    Floats logits;
    int64_t computed = 0, cached = 0;
};

// Generates behind a prompt, and gives the logits behind the answer's first token.
Answer answer(ModelHost& host, const Tokens& prompt) {
    const Model model(std::shared_ptr<ModelHost>(&host, [](ModelHost*) {}));
    Sequence sequence = model.open();
    const Generated made = sequence.generate(prompt, {.max_tokens = 6, .ignore_end = true});
    sequence.truncate(static_cast<int64_t>(prompt.size()));
    return {made.tokens, sequence.logits(Tokens{7}), made.prompt_tokens, made.cached_tokens};
}

double kl_of(const Floats& reference, const Floats& other) {
    return compare_logits(reference, other, std::ssize(reference)).max_kl;
}

std::vector<std::filesystem::path> piece_files(const TestFolder& folder) {
    std::vector<std::filesystem::path> files;
    for (const auto& path : list_folder(folder.path()))
        if (path.extension() == ".prompt") files.push_back(path);
    return files;
}

TEST_CASE("a prompt that an earlier process computed is not computed again") {
    for (const std::string name : {"tiny", "mini35"})
        for (const bool exact : {false, true})
            for (const int length : {2 * 64 + 1, 180}) {
                if (name == "tiny" && exact == (length == 180)) continue;
                CAPTURE(name);
                CAPTURE(exact);
                CAPTURE(length);
                const TestFolder folder;
                const Tokens prompt = text_of(length, 1);
                const ModelOptions options{.float_activations = length == 180,
                                           .exact_prefix = exact};
                const Answer first = answer(*load_with(name, folder, options), prompt);
                CHECK(first.cached == 0);
                Answer second = answer(*load_with(name, folder, options), prompt);
                if (name == "mini35" && !exact) {
                    // The one state is that behind the whole prompt. That others begin with the
                    // same pages is known now, and a state was kept behind them.
                    CHECK(second.cached == 0);
                    second = answer(*load_with(name, folder, options), prompt);
                }
                // Pages in whole, or multiples of 32 tokens.
                const int unit = name == "mini35" && exact ? 32 : 64;
                CHECK(second.cached == (length - 1) / unit * unit);
                CHECK(second.computed == length - second.cached);
                CHECK(second.tokens == first.tokens);
                if (exact || name == "tiny")
                    CHECK(second.logits == first.logits);
                else
                    CHECK(kl_of(first.logits, second.logits) < 1e-6);
            }
}

TEST_CASE("a longer conversation goes on from files, and its own start is shared with others") {
    for (const std::string name : {"tiny", "mini35"}) {
        CAPTURE(name);
        const TestFolder folder;
        Tokens prompt = text_of(200, 1);
        {
            const auto host = load_with(name, folder);
            prompt.insert(prompt.end(), {1, 2, 3});
            answer(*host, prompt);
        }
        // The next turn, and another conversation with the same start.
        for (const int seed : {2, 3}) {
            Tokens longer = prompt;
            for (const int32_t token : text_of(50, seed)) longer.push_back(token);
            const auto host = load_with(name, folder);
            const Answer made = answer(*host, longer);
            CHECK(made.cached == (name == "tiny" ? 192 : 203));
            const TestFolder none;
            const Answer alone = answer(*load_with(name, none), longer);
            CHECK(made.tokens == alone.tokens);
        }
    }
}

TEST_CASE("pieces of another model, of another KV type and of other kernels never match") {
    const TestFolder folder;
    const Tokens prompt = text_of(130, 1);
    answer(*load_with("tiny", folder), prompt);
    CHECK(answer(*load_with("tiny", folder), prompt).cached == 128);
    CHECK(answer(*load_with("mini35", folder), prompt).cached == 0);
    CHECK(answer(*load_with("tiny", folder, {.kv_type = "f32"}), prompt).cached == 0);
    CHECK(answer(*load_with("tiny", folder, {.float_activations = true}), prompt).cached == 0);
    // Neither the context nor the number of sequences changes a page.
    const ModelOptions larger{.context = 1024, .parallel = 2};
    CHECK(answer(*load_with("tiny", folder, larger), prompt).cached == 128);
}

TEST_CASE("a piece that is damaged, cut or zeroed is computed again, with the same text") {
    for (const std::string name : {"tiny", "mini35"}) {
        CAPTURE(name);
        const TestFolder folder;
        const Tokens prompt = text_of(201, 1);
        const ModelOptions options{.exact_prefix = true};
        const Answer good = answer(*load_with(name, folder, options), prompt);
        const std::string damages[] = {"flip", "cut", "zeros", "gone"};
        const auto files = piece_files(folder);
        for (size_t i = 0; i < files.size(); ++i) {
            const std::string damage = damages[i % 4];
            CAPTURE(damage);
            auto bytes = read_file(files[i], 1 << 30).value();
            if (damage == "flip") bytes[bytes.size() / 2] ^= std::byte{64};
            if (damage == "cut") bytes.resize(bytes.size() / 2);
            if (damage == "zeros") std::ranges::fill(bytes, std::byte{0});
            std::filesystem::remove(files[i]);
            if (damage != "gone")
                std::ofstream(files[i], std::ios::binary)
                    .write(reinterpret_cast<const char*>(bytes.data()),
                           static_cast<std::streamsize>(bytes.size()));
            const Answer again = answer(*load_with(name, folder, options), prompt);
            CHECK(again.tokens == good.tokens);
            CHECK(again.logits == good.logits);
            CHECK(again.cached < 192);
        }
        // The models wrote the pieces anew.
        CHECK(answer(*load_with(name, folder, options), prompt).cached == 192);
    }
}

TEST_CASE("two models at once share a folder") {
    const TestFolder folder;
    const auto first = load_with("tiny", folder), second = load_with("tiny", folder);
    std::vector<Answer> answers(8);
    std::thread other([&] {
        for (int i = 0; i < 8; i += 2)
            answers[static_cast<size_t>(i)] = answer(*second, text_of(150, i / 2));
    });
    for (int i = 1; i < 8; i += 2)
        answers[static_cast<size_t>(i)] = answer(*first, text_of(150, i / 2));
    other.join();
    for (size_t i = 0; i < 8; i += 2) CHECK(answers[i].tokens == answers[i + 1].tokens);
    const auto third = load_with("tiny", folder);
    for (int i = 0; i < 4; ++i) CHECK(answer(*third, text_of(150, i)).cached <= 128);
}

TEST_CASE("a folder that is too small or cannot be used harms no answer") {
    const Tokens prompt = text_of(300, 1);
    const TestFolder folder;
    const Answer good = answer(*load_with("mini35", folder), prompt);
    const TestFolder small;
    const ModelOptions few{.prompt_cache_bytes = 100'000};
    for (int i = 0; i < 3; ++i)
        CHECK(answer(*load_with("mini35", small, few), prompt).tokens == good.tokens);
    int64_t bytes = 0;
    for (const auto& path : piece_files(small))
        bytes += static_cast<int64_t>(std::filesystem::file_size(path));
    CHECK(bytes <= 100'000);

    const TestFolder shared;
    chmod(shared.path().c_str(), 0777);
    std::vector<std::string> warnings;
    ModelOptions told;
    told.warn = [&](const std::string& line) { warnings.push_back(line); };
    CHECK(answer(*load_with("mini35", shared, told), prompt).tokens == good.tokens);
    CHECK(std::ranges::count_if(warnings, [](const std::string& line) {
              return line.find("prompts are not kept on disk") != std::string::npos;
          }) == 1);
    CHECK(piece_files(shared).empty());
}

TEST_CASE("a prompt cache needs prefixes") {
    const TestFolder folder;
    CHECK_THROWS_WITH_AS(load_with("tiny", folder, {.prefix_cache = false}),
                         doctest::Contains("ModelOptions::prompt_cache"), OptionError);
    CHECK_THROWS_WITH_AS(load_with("tiny", folder, {.prompt_cache_bytes = 0}),
                         doctest::Contains("ModelOptions::prompt_cache_bytes"), OptionError);
}

TEST_CASE("pieces are written while nothing else is due, before the model ends") {
    const TestFolder folder;
    const auto host = load_with("tiny", folder);
    answer(*host, text_of(200, 1));
    // The thread takes a task between two pieces; behind it nothing is due again.
    for (int i = 0; i < 3000 && piece_files(folder).size() < 3; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(piece_files(folder).size() == 3);
}

}  // namespace
}  // namespace hetune
