// The cost of prompts with the same start, counted in rows of the steps that compute prompts.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "runtime/api/model_host.h"
#include "runtime/oracle/logits_distance.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

using Tokens = std::vector<int32_t>;

std::shared_ptr<ModelHost> load(const std::string& name, ModelOptions options) {
    setenv("HETUNE_CACHE_DIR", run_store().c_str(), 1);
    // "cuda" on a machine with a GPU.
    const char* chosen = std::getenv("HETUNE_TEST_BACKEND");
    options.backend = chosen != nullptr ? chosen : "cpu";
    options.prefill_rows = 64;
    options.chat_template = "chatml";
    return std::make_shared<ModelHost>(kModels + "/" + name + "-Q4_K_M.gguf", options);
}

int64_t prompt_rows(ModelHost& host) {
    int64_t rows = 0;
    host.scheduler->run([&](Engine&) { rows = host.stepper->prompt_rows(); });
    return rows;
}

Tokens some(int count, int seed) {
    Tokens tokens;
    for (int i = 0; i < count; ++i) tokens.push_back((i * 37 + seed * 101 + 5) % 300);
    return tokens;
}

// A prompt for everyone, and something of each one's own.
constexpr int kCommon = 260, kOwn = 10, kRequests = 16;
Tokens prompt(int who) {
    Tokens tokens = some(kCommon, 0);
    for (const int32_t token : some(kOwn, who + 1)) tokens.push_back(token);
    return tokens;
}

// The tokens drawn for each of `count` requests, none of which starts before all have arrived.
std::vector<Tokens> ask_at_once(ModelHost& host, int count,
                                const std::function<Tokens(int who)>& prompt_of, int draws) {
    std::atomic<bool> all_there = false;
    std::thread other([&] { host.scheduler->run([&](Engine&) { all_there.wait(false); }); });
    std::vector<std::shared_ptr<Request>> requests;
    int64_t tokens = 0, cached = 0;
    for (int i = 0; i < count; ++i) {
        requests.push_back(std::make_shared<Request>());
        requests.back()->sequence = std::make_shared<SequenceState>();
        requests.back()->tokens = prompt_of(i);
        requests.back()->draws = draws;
        tokens += std::ssize(requests.back()->tokens);
        host.scheduler->submit(requests.back());
    }
    all_there = true;
    all_there.notify_all();
    other.join();
    std::vector<Tokens> drawn(requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
        std::vector<float> none;
        while (!requests[i]->receive(drawn[i], none, std::chrono::seconds(1))) {
        }
        requests[i]->finish();
        cached += requests[i]->cached_tokens;
    }
    CHECK(tokens == prompt_rows(host) + cached);
    return drawn;
}

TEST_CASE("requests that arrive at once with the same start compute it once") {
    for (const std::string name : {"tiny", "mini35"})
        for (const bool exact : {false, true}) {
            if (exact && name == "tiny") continue;  // is exact in any case
            CAPTURE(name);
            CAPTURE(exact);
            const auto host = load(name, {.context = 384, .parallel = 3, .exact_prefix = exact});
            const auto drawn = ask_at_once(*host, kRequests, prompt, 2);
            const int64_t cached = kRequests * (kCommon + kOwn) - prompt_rows(*host);
            // A recurrent model is exact at multiples of 32 tokens.
            const int taken = exact ? kCommon / 32 * 32 : kCommon;
            CHECK(cached == (kRequests - 1) * taken);
            const auto alone = load(name, {.context = 384, .prefix_cache = false});
            if (exact)
                for (int i = 0; i < kRequests; i += 9)
                    CHECK(Model(alone)
                              .open()
                              .generate(prompt(i), {.max_tokens = 2, .ignore_end = true})
                              .tokens == drawn[static_cast<size_t>(i)]);
        }
}

TEST_CASE("a request whose start another one computes goes on alone where that is cancelled") {
    const auto host = load("tiny", {.context = 384, .parallel = 2});
    const Model model(host);
    Sequence first = model.open();
    std::thread other([&] {
        Generated made;
        for (int i = 0; made.stop != Stop::kCancelled && i < 20; ++i) {
            first.reset();
            made = first.generate(prompt(i),
                                  {.max_tokens = 1,
                                   .ignore_end = true,
                                   .cancelled = [&, asked = 0]() mutable { return asked++ > 0; }});
        }
    });
    Sequence second = model.open();
    const Generated made = second.generate(prompt(1001), {.max_tokens = 2, .ignore_end = true});
    other.join();
    CHECK(made.tokens.size() == 2);
    CHECK(made.prompt_tokens + made.cached_tokens == kCommon + kOwn);
}

TEST_CASE("requests with the same start one after another compute it once, or twice") {
    for (const std::string name : {"tiny", "mini35"}) {
        const auto host = load(name, {.context = 384});
        for (int i = 0; i < kRequests; ++i) {
            const Generated made = Model(host).open().generate(prompt(i), {.max_tokens = 2});
            // That it is a start is known from the second request on; a recurrent state is kept
            // there then.
            const bool known = name == "tiny" ? i > 0 : i > 1;
            CHECK(made.cached_tokens == (known ? kCommon : 0));
            CHECK(made.prompt_tokens + made.cached_tokens == kCommon + kOwn);
        }
    }
}

TEST_CASE("64 requests with one prompt of 1500 tokens compute it once, at once or one by one") {
    constexpr int kLong = 1500, kMany = 64;
    const auto with_own = [](int who) {
        Tokens tokens = some(kLong, 0);
        for (const int32_t token : some(3, who + 1)) tokens.push_back(token);
        return tokens;
    };
    for (const std::string name : {"tiny", "mini35"})
        for (const bool at_once : {true, false}) {
            CAPTURE(name);
            CAPTURE(at_once);
            const auto host = load(name, {.context = 1600, .parallel = 4});
            if (at_once)
                ask_at_once(*host, kMany, with_own, 1);
            else
                for (int who = 0; who < kMany; ++who)
                    Model(host).open().generate(with_own(who),
                                                {.max_tokens = 1, .ignore_end = true});
            // A recurrent model learns from the second prompt that a start is common.
            const int times = name == "mini35" && !at_once ? 2 : 1;
            CHECK(prompt_rows(*host) == times * kLong + kMany * 3);
        }
}

TEST_CASE("a fork takes over what its sequence computed, and each goes on by itself") {
    for (const std::string name : {"tiny", "mini35"}) {
        CAPTURE(name);
        const auto host = load(name, {.context = 384, .parallel = 2});
        const auto alone = load(name, {.context = 384, .prefix_cache = false});
        const GenerateOptions draw{.max_tokens = 6, .ignore_end = true};
        Sequence one = Model(host).open(), again = Model(alone).open();
        CHECK(one.generate(some(100, 1), draw).tokens == again.generate(some(100, 1), draw).tokens);
        Sequence two = one.fork();
        CHECK(std::ranges::equal(two.tokens(), one.tokens()));
        // The answers of both lie in copies of the page in which the first one ends.
        for (const int seed : {2, 3}) {
            Sequence other = again.fork();
            const Generated made = (seed == 2 ? one : two).generate(some(20, seed), draw);
            CHECK(made.cached_tokens >= 105);  // but perhaps for the token drawn last
            CHECK(made.tokens == other.generate(some(20, seed), draw).tokens);
        }
        for (Sequence* each : {&one, &two}) {
            Sequence fresh = Model(alone).open();
            fresh.append(each->tokens().first(100));
            fresh.logits(each->tokens().subspan(100, 6), {.one_by_one = true});
            fresh.append(each->tokens().subspan(106, 20));
            fresh.logits(each->tokens().subspan(126), {.one_by_one = true});
            CHECK(each->logits(some(3, 9)) == fresh.logits(some(3, 9)));
        }
    }
}

// Ten turns, each in a sequence of its own, as a server has them. Each answer is sent again without
// its beginning, as templates do that drop the reasoning.
void converse(ModelHost& host, const std::function<void(Sequence&, const Generated&)>& after) {
    const Model model(std::shared_ptr<ModelHost>(&host, [](ModelHost*) {}));
    std::vector<Message> messages = {
        {"system", "You answer in one sentence, and never in more than one, whatever it is."}};
    for (int turn = 0; turn < 10; ++turn) {
        messages.push_back({"user", "What is the number behind " + std::to_string(turn) + "?"});
        Sequence sequence = model.open();
        const Generated made = sequence.chat(messages, {.max_tokens = 8, .ignore_end = true});
        after(sequence, made);
        messages.push_back({"assistant", "It is " + std::to_string(turn + 1) + "."});
    }
}

TEST_CASE("a turn of a conversation computes what is new, and at most one message more") {
    for (const std::string name : {"tiny", "mini35"}) {
        CAPTURE(name);
        const auto host = load(name, {.context = 1500, .float_activations = true});
        const auto alone =
            load(name, {.context = 1500, .float_activations = true, .prefix_cache = false});
        const Model model(host);
        const auto count = [&](const std::string& text) {
            return std::ssize(model.tokenize(text, true, false));
        };
        const int64_t message = count("<|im_start|>user\nWhat is the number behind 9?<|im_end|>\n"),
                      answer = count("<|im_start|>assistant\nIt is 10.<|im_end|>\n"),
                      opening = count("<|im_start|>assistant\n");
        int turn = 0;
        double worst = 0;
        int64_t rows = 0;
        converse(*host, [&](Sequence& sequence, const Generated& made) {
            CAPTURE(turn);
            const int64_t before = std::exchange(rows, prompt_rows(*host));
            CHECK(made.prompt_tokens == rows - before);
            // The answer, the message and the opening are new. Where texts are divided into tokens
            // may differ by one or two.
            if (turn++ > 0) CHECK(rows - before <= message + answer + message + opening + 2);
            Sequence fresh = Model(alone).open();
            const auto tokens = sequence.tokens();
            const auto prompt = tokens.first(tokens.size() - made.tokens.size());
            fresh.append(prompt);
            for (const int32_t token : made.tokens)
                fresh.logits(std::span(&token, 1), {.one_by_one = true});
            const Tokens probe = {7, 30};
            const auto got = sequence.logits(probe), wanted = fresh.logits(probe);
            worst = std::max(worst, compare_logits(wanted, got, std::ssize(wanted)).max_kl);
            rows = prompt_rows(*host);
        });
        MESSAGE(name, ": KL of at most ", worst);
        CHECK(worst < 1e-6);
    }
}

TEST_CASE("with exact_prefix a turn's logits are bit for bit those of a fresh computation") {
    for (const std::string name : {"tiny", "mini35"}) {
        CAPTURE(name);
        const auto host = load(name, {.context = 1500, .exact_prefix = true});
        const auto alone = load(name, {.context = 1500, .prefix_cache = false});
        int64_t cached = 0;
        int turn = 0;
        converse(*host, [&](Sequence& sequence, const Generated& made) {
            const auto tokens = sequence.tokens();
            const auto prompt = tokens.first(tokens.size() - made.tokens.size());
            cached += made.cached_tokens;
            Sequence fresh = Model(alone).open();
            if (turn++ % 3 > 0) return;
            CHECK(fresh.generate(prompt, {.max_tokens = 8, .ignore_end = true}).tokens ==
                  made.tokens);
            const Tokens probe = {7, 30};
            CHECK(sequence.logits(probe) == fresh.logits(probe));
        });
        CHECK(cached > 1000);
    }
}

}  // namespace
}  // namespace hetune
