// The scheduler's thread and its callers, on an engine whose tokens follow from arithmetic.
#include "runtime/engine/scheduler.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace hetune {
namespace {

using Tokens = std::vector<int32_t>;
using State = std::shared_ptr<SequenceState>;
using std::chrono::milliseconds;

constexpr int32_t kVocabulary = 997;

// The token behind a text.
int32_t next_token(std::span<const int32_t> tokens) {
    uint32_t hash = 17;
    for (const int32_t token : tokens) hash = hash * 31 + static_cast<uint32_t>(token);
    return static_cast<int32_t>(hash % kVocabulary);
}
Tokens answer(Tokens text, int count) {
    Tokens drawn;
    for (int i = 0; i < count; ++i) {
        drawn.push_back(next_token(text));
        text.push_back(drawn.back());
    }
    return drawn;
}

// Knows of each slot which tokens it holds, so that a step on what is not there fails a check.
class FakeEngine : public Engine {
  public:
    struct Script {
        int slots = 1;
        std::atomic<int> steps = 0, computed = 0, prompt_steps = 0;
        std::function<void()> before_step = [] {}, before_give_back = [] {};
    };
    explicit FakeEngine(Script& script)
        : script_(script), held_(static_cast<size_t>(script.slots)) {}

    int64_t vocabulary() const override { return kVocabulary; }
    int64_t context() const override { return 400; }
    int64_t most_drawn() const override { return 2; }
    bool take_slot(SequenceState& sequence, int64_t, int64_t) override {
        if (sequence.slot >= 0) return true;
        for (size_t i = 0; i < held_.size(); ++i)
            if (!held_[i]) {
                held_[i].emplace();
                sequence.slot = static_cast<int>(i);
                sequence.computed = 0;
                return true;
            }
        return false;
    }
    void give_back(SequenceState& sequence) override {
        script_.before_give_back();
        if (sequence.slot >= 0) held_[static_cast<size_t>(sequence.slot)].reset();
        sequence.slot = -1;
    }
    // A step has four rows.
    void compute(std::span<SequenceState* const> sequences) override {
        int64_t room = 4;
        ++script_.prompt_steps;
        for (SequenceState* sequence : sequences) {
            if (room == 0) return;
            step(*sequence);
            const int64_t rows = std::min(room, sequence->size() - sequence->computed);
            room -= rows;
            take(*sequence, sequence->computed + rows);
            script_.computed += static_cast<int>(sequence->computed);
        }
    }
    void read_output(SequenceState& sequence, std::vector<float>& to) override {
        to.resize(to.size() + kVocabulary, static_cast<float>(sequence.computed));
    }
    void prepare(SequenceState& sequence, bool) override {
        held(sequence).tokens.resize(static_cast<size_t>(sequence.computed));
    }
    int32_t draw_first(SequenceState& sequence, const Sampling&, const DrawLimit& limit) override {
        held(sequence).left = limit.draws;
        return draw_one(sequence);
    }
    void draw(std::span<SequenceState* const> sequences) override {
        REQUIRE(std::ssize(sequences) <= most_drawn());
        for (SequenceState* sequence : sequences) {
            step(*sequence);
            for (int i = 0; i < 3 && held(*sequence).left > 0; ++i) {
                take(*sequence, sequence->size());
                draw_one(*sequence);
            }
        }
    }
    void check_draw(SequenceState&) override {}

  private:
    struct Slot {
        Tokens tokens;
        int64_t left = 0;  // draws
    };
    Slot& held(const SequenceState& sequence) { return *held_[static_cast<size_t>(sequence.slot)]; }
    void step(const SequenceState& sequence) {
        ++script_.steps;
        script_.before_step();
        const Tokens& tokens = held(sequence).tokens;
        REQUIRE(tokens.size() == static_cast<size_t>(sequence.computed));
        REQUIRE(std::ranges::equal(tokens, std::span(sequence.tokens).first(tokens.size())));
    }
    void take(SequenceState& sequence, int64_t end) {
        held(sequence).tokens.assign(sequence.tokens.begin(), sequence.tokens.begin() + end);
        sequence.computed = end;
    }
    int32_t draw_one(SequenceState& sequence) {
        --held(sequence).left;
        const int32_t token = next_token(sequence.tokens);
        sequence.add_drawn(token);
        return token;
    }

    Script& script_;
    std::vector<std::optional<Slot>> held_;
    Tokens drawn_;
};

Scheduler scheduler_of(FakeEngine::Script& script, int most_waiting = 64) {
    return Scheduler([&] { return std::make_unique<FakeEngine>(script); }, most_waiting);
}

std::shared_ptr<Request> request(const State& sequence, Tokens prompt, int draws) {
    auto made = std::make_shared<Request>();
    made->sequence = sequence;
    made->tokens = std::move(prompt);
    made->draws = draws;
    return made;
}

// All tokens of a request that was submitted.
Tokens receive(Request& request) {
    Tokens drawn;
    std::vector<float> none;
    while (!request.receive(drawn, none, milliseconds(1000))) {
    }
    request.finish();
    return drawn;
}

Tokens generate(Scheduler& scheduler, const State& sequence, const Tokens& prompt, int draws) {
    const auto asked = request(sequence, prompt, draws);
    scheduler.submit(asked);
    return receive(*asked);
}

TEST_CASE("sequences of many threads get the tokens they get alone, on one slot and on two") {
    for (const int slots : {1, 2}) {
        FakeEngine::Script script{.slots = slots};
        Scheduler scheduler = scheduler_of(script);
        std::atomic<int> wrong = 0;
        std::vector<std::thread> threads;
        for (int32_t t = 0; t < 6; ++t)
            threads.emplace_back([&, t] {
                const auto sequence = std::make_shared<SequenceState>();
                Tokens text;
                for (int32_t turn = 0; turn < 12; ++turn) {
                    const Tokens prompt = {t, turn, 5, 6, 7};
                    text.insert(text.end(), prompt.begin(), prompt.end());
                    const Tokens wanted = answer(text, 10);
                    wrong += generate(scheduler, sequence, prompt, 10) != wanted;
                    text.insert(text.end(), wanted.begin(), wanted.end());
                    wrong += sequence->tokens != text;
                }
                scheduler.release(sequence);
            });
        for (std::thread& thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}

TEST_CASE("prompts that wait together share their steps, the oldest first") {
    FakeEngine::Script script{.slots = 4};
    Scheduler scheduler = scheduler_of(script);
    std::vector<std::shared_ptr<Request>> requests;
    // Nothing is computed before all are there.
    scheduler.run([&](Engine&) {
        for (const int32_t tokens : {3, 1, 2, 6})
            requests.push_back(request(std::make_shared<SequenceState>(),
                                       Tokens(static_cast<size_t>(tokens), tokens), 2));
        for (const auto& each : requests) scheduler.submit(each);
    });
    for (const auto& each : requests) {
        const Tokens prompt = each->tokens;
        CHECK(receive(*each) == answer(prompt, 2));
    }
    // Twelve tokens, four a step: 3 and 1; 2 and two of 6; four of 6.
    CHECK(script.prompt_steps == 3);
}

TEST_CASE(
    "a sequence whose slot was taken is computed again when it goes on, one that kept it not") {
    FakeEngine::Script script;
    Scheduler scheduler = scheduler_of(script);
    const auto first = std::make_shared<SequenceState>(), other = std::make_shared<SequenceState>();
    generate(scheduler, first, {1, 2, 3, 4, 5, 6, 7, 8}, 1);
    script.computed = 0;
    generate(scheduler, first, {9}, 1);
    CHECK(script.computed == 10);  // one step, to the tenth token
    generate(scheduler, other, {1}, 1);
    script.computed = 0;
    Tokens text = first->tokens;
    text.push_back(9);
    CHECK(generate(scheduler, first, {9}, 1) == answer(text, 1));
    CHECK(script.computed == 4 + 8 + 12);
}

TEST_CASE("more calls than may wait are refused, and change nothing") {
    std::atomic<bool> go = false;
    FakeEngine::Script script;
    script.before_step = [&] { go.wait(false); };
    Scheduler scheduler = scheduler_of(script, 2);
    const auto a = std::make_shared<SequenceState>(), b = std::make_shared<SequenceState>(),
               c = std::make_shared<SequenceState>();
    const auto one = request(a, {1}, 2), two = request(b, {1}, 2), three = request(c, {1}, 2);
    scheduler.submit(one);
    scheduler.submit(two);
    CHECK_THROWS_WITH_AS(scheduler.submit(three), doctest::Contains("ModelOptions::most_waiting"),
                         Overloaded);
    CHECK(c->size() == 0);
    go = true;
    go.notify_all();
    CHECK(receive(*one).size() == 2);
    CHECK(receive(*two).size() == 2);
    scheduler.submit(three);
    CHECK(receive(*three) == answer({1}, 2));
}

TEST_CASE("a request is cancelled, or out of time, while it waits, computes and draws") {
    std::atomic<int> allowed = 0;
    FakeEngine::Script script;
    script.before_step = [&] {
        for (int left = allowed; left == 0; left = allowed) allowed.wait(0);
        --allowed;
    };
    const auto allow = [&](int steps) {
        allowed += steps;
        allowed.notify_all();
    };
    Scheduler scheduler = scheduler_of(script);
    const auto a = std::make_shared<SequenceState>(), b = std::make_shared<SequenceState>(),
               c = std::make_shared<SequenceState>();
    const auto computing = request(a, Tokens(40, 3), 5);
    scheduler.submit(computing);
    while (script.steps == 0) std::this_thread::yield();
    const auto waiting = request(b, {1}, 5), late = request(c, {1}, 5);
    late->deadline = std::chrono::steady_clock::now();
    scheduler.submit(waiting);
    scheduler.submit(late);
    waiting->cancel();
    computing->cancel();
    allow(1);  // the step under way
    CHECK(receive(*waiting).empty());
    CHECK(waiting->ending == Ending::kCancelled);
    CHECK(b->size() == 0);
    CHECK(receive(*late).empty());
    CHECK(late->ending == Ending::kDeadline);
    CHECK(receive(*computing).empty());
    CHECK(computing->ending == Ending::kCancelled);
    CHECK(a->size() == 4);  // as far as it was computed
    const auto drawing = request(a, {5}, 100);
    scheduler.submit(drawing);
    allow(2);
    Tokens drawn;
    std::vector<float> none;
    while (drawn.size() < 4) drawing->receive(drawn, none, milliseconds(1000));
    drawing->cancel();
    allow(1);  // the step that may have begun
    while (!drawing->receive(drawn, none, milliseconds(1000))) {
    }
    CHECK(drawing->ending == Ending::kCancelled);
    CHECK(drawn == answer({3, 3, 3, 3, 5}, static_cast<int>(drawn.size())));
    CHECK(a->size() == 5 + std::ssize(drawn));
}

TEST_CASE("a caller who takes nothing stops its own drawing, and no more") {
    FakeEngine::Script script{.slots = 2};
    Scheduler scheduler = scheduler_of(script);
    const auto slow = std::make_shared<SequenceState>(), quick = std::make_shared<SequenceState>();
    const auto asked = request(slow, {1}, 300);
    scheduler.submit(asked);
    CHECK(generate(scheduler, quick, {2}, 300) == answer({2}, 300));
    CHECK(generate(scheduler, quick, {2}, 50).size() == 50);
    CHECK(receive(*asked) == answer({1}, 300));
}

TEST_CASE(
    "a caller who takes nothing gives way to others on its slot, and goes on with the same "
    "tokens") {
    FakeEngine::Script script;
    Scheduler scheduler = scheduler_of(script);
    const auto slow = std::make_shared<SequenceState>(), quick = std::make_shared<SequenceState>();
    const auto asked = request(slow, {1}, 300);
    scheduler.submit(asked);
    Tokens drawn;
    std::vector<float> none;
    for (int turn = 1; turn < 4; ++turn) {
        CHECK(generate(scheduler, quick, {turn}, 90).size() == 90);
        asked->receive(drawn, none, milliseconds(1000));
        if (turn == 1) quick->cut(10);  // of an idle sequence, whose slot may be taken meanwhile
    }
    for (const int32_t token : receive(*asked)) drawn.push_back(token);
    CHECK(drawn == answer({1}, 300));
    CHECK(slow->size() == 301);
}

TEST_CASE("a request behind one that waits is cancelled, and has its deadline") {
    std::atomic<bool> go = false;
    FakeEngine::Script script;
    script.before_step = [&] { go.wait(false); };
    Scheduler scheduler = scheduler_of(script);
    const auto a = std::make_shared<SequenceState>(), b = std::make_shared<SequenceState>(),
               c = std::make_shared<SequenceState>(), d = std::make_shared<SequenceState>();
    const auto running = request(a, {1}, 5), waiting = request(b, {1}, 5);
    const auto late = request(c, {1}, 5), cancelled = request(d, {1}, 5);
    late->deadline = std::chrono::steady_clock::now();
    for (const auto& each : {running, waiting, late, cancelled}) scheduler.submit(each);
    cancelled->cancel();
    go = true;
    go.notify_all();
    CHECK(receive(*cancelled).empty());
    CHECK(receive(*late).empty());
    CHECK(late->ending == Ending::kDeadline);
    CHECK(receive(*running).size() == 5);
    CHECK(receive(*waiting).size() == 5);
}

TEST_CASE("a device that fails ends all calls, and every later one") {
    std::atomic<bool> fails = false;
    FakeEngine::Script script;
    script.before_step = [&] {
        if (fails) throw DeviceError("the driver says no");
    };
    Scheduler scheduler = scheduler_of(script);
    const auto a = std::make_shared<SequenceState>(), b = std::make_shared<SequenceState>();
    CHECK(generate(scheduler, a, {1}, 5).size() == 5);
    fails = true;
    for (int i = 0; i < 2; ++i)
        CHECK_THROWS_WITH_AS(generate(scheduler, b, {1}, 5),
                             doctest::Contains("the driver says no; the model cannot be used"),
                             DeviceLost);
    CHECK_THROWS_AS(scheduler.run([](Engine&) {}), DeviceLost);
    scheduler.release(a);
}

TEST_CASE("a device that fails while a sequence is given up ends the call that is due") {
    std::atomic<bool> in_step = false, go = false;
    FakeEngine::Script script{.slots = 2};
    script.before_step = [&] {
        in_step = true;
        go.wait(false);
    };
    script.before_give_back = [] { throw DeviceError("the driver says no"); };
    Scheduler scheduler = scheduler_of(script);
    const auto a = std::make_shared<SequenceState>(), b = std::make_shared<SequenceState>();
    scheduler.run([](Engine&) {}, b);  // which gets a slot
    const auto asked = request(a, Tokens(40, 3), 5);
    scheduler.submit(asked);
    while (!in_step) std::this_thread::yield();
    scheduler.release(b);
    go = true;
    go.notify_all();
    CHECK_THROWS_AS(receive(*asked), DeviceLost);
}

TEST_CASE("what a step or a task throws is thrown to its caller alone") {
    std::atomic<bool> fails = false;
    FakeEngine::Script script;
    script.before_step = [&] {
        if (fails.exchange(false)) throw NumberError("no number");
    };
    Scheduler scheduler = scheduler_of(script);
    const auto a = std::make_shared<SequenceState>();
    CHECK(generate(scheduler, a, {1}, 5).size() == 5);
    fails = true;
    CHECK_THROWS_AS(generate(scheduler, a, {1}, 5), NumberError);
    CHECK_THROWS_AS(scheduler.run([](Engine&) { throw std::logic_error("of the task"); }),
                    std::logic_error);
    int64_t context = 0;
    scheduler.run([&](Engine& engine) { context = engine.context(); });
    CHECK(context == 400);
    CHECK_THROWS_AS(Scheduler([]() -> std::unique_ptr<Engine> { throw ModelError("no model"); }, 1),
                    ModelError);
}

TEST_CASE("a scheduler that ends cancels what waits") {
    FakeEngine::Script script;
    std::optional<Scheduler> scheduler;
    scheduler.emplace([&] { return std::make_unique<FakeEngine>(script); }, 64);
    const auto a = std::make_shared<SequenceState>(), b = std::make_shared<SequenceState>();
    // Their callers take nothing, so that neither ends by itself.
    const auto full = request(a, {1}, 300), waiting = request(b, {1}, 300);
    scheduler->submit(full);
    scheduler->submit(waiting);
    scheduler.reset();
    CHECK(full->ending == Ending::kCancelled);
    CHECK(waiting->ending == Ending::kCancelled);
}

}  // namespace
}  // namespace hetune
