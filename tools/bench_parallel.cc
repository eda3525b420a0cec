#include "tools/bench_parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <latch>
#include <nlohmann/json.hpp>
#include <thread>

namespace hetune {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

// One sequence's tokens as they came.
struct Stream {
    std::shared_ptr<SequenceState> sequence = std::make_shared<SequenceState>();
    std::vector<std::pair<Clock::time_point, int64_t>> arrivals;  // how many at a time
    std::exception_ptr error;
    bool cancelled = false;

    Clock::time_point first() const { return arrivals.front().first; }
    // When so many had come, and with them the last.
    Clock::time_point reached(int64_t count) const {
        int64_t come = 0;
        for (const auto& [when, some] : arrivals)
            if ((come += some) >= count) return when;
        return last();
    }
    Clock::time_point last() const { return arrivals.back().first; }
};

// Each sequence has tokens of its own, so that none finds its prompt computed.
std::vector<int32_t> prompt_of(size_t sequence, int64_t count, int64_t vocabulary) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i)
        tokens.push_back(static_cast<int32_t>(
            (i * 7919 + static_cast<int64_t>(sequence + 1) * 104729 + 13) % vocabulary));
    return tokens;
}

void generate(ModelHost& model, Stream& stream, std::vector<int32_t> prompt, int64_t tokens,
              const Budget& budget) {
    const auto request = std::make_shared<Request>();
    request->sequence = stream.sequence;
    request->tokens = std::move(prompt);
    request->draws = tokens;
    request->sampling.temperature = 0;
    try {
        model.scheduler->submit(request);
        std::vector<int32_t> drawn;
        std::vector<float> none;
        for (bool done = false; !done;) {
            drawn.clear();
            done = request->receive(drawn, none, std::chrono::milliseconds(50));
            if (!drawn.empty()) stream.arrivals.emplace_back(Clock::now(), std::ssize(drawn));
            if (budget.over()) {
                stream.cancelled = true;
                request->cancel();
            }
        }
        request->finish();
    } catch (...) {
        stream.error = std::current_exception();
    }
}

ParallelResult measure(ModelHost& model, int64_t count, int64_t prompt, int64_t tokens,
                       const Budget& budget) {
    ParallelResult result{.prompt = prompt, .tokens = tokens, .sequences = count};
    std::vector<Stream> streams(static_cast<size_t>(count));
    const auto began = Clock::now();
    {
        std::vector<std::jthread> threads;
        for (size_t i = 0; i < streams.size(); ++i)
            threads.emplace_back([&, i] {
                generate(model, streams[i], prompt_of(i, prompt, model.info.vocabulary), tokens,
                         budget);
            });
    }
    for (const Stream& stream : streams) model.scheduler->release(stream.sequence);
    for (const Stream& stream : streams)
        if (stream.error) std::rethrow_exception(stream.error);
    if (std::ranges::any_of(streams, &Stream::cancelled)) {
        result.left_out = "no time is left";
        return result;
    }
    // The time in which all of them generate: until the first has its last token. At its start
    // tokens that were computed before the last prompt was have come: a burst of 32 at most.
    const int64_t settled = std::min<int64_t>(40, tokens / 3);
    Clock::time_point all_began = began, one_ended = Clock::time_point::max();
    std::vector<double> firsts;
    for (const Stream& stream : streams) {
        all_began = std::max(all_began, stream.reached(settled));
        one_ended = std::min(one_ended, stream.last());
        firsts.push_back(seconds_between(began, stream.first()));
    }
    std::ranges::sort(firsts);
    result.prompt_seconds = firsts.back();  // with it, the others' first answers
    result.first_seconds = firsts[firsts.size() / 2];
    int64_t in_between = 0;
    for (const Stream& stream : streams)
        for (const auto& [when, some] : stream.arrivals)
            if (when > all_began && when <= one_ended) in_between += some;
    if (one_ended <= all_began) {
        result.left_out = "a sequence had ended before the last one began; take more tokens (-n)";
        return result;
    }
    result.tokens_per_second =
        static_cast<double>(in_between) / seconds_between(all_began, one_ended);
    return result;
}

}  // namespace

std::vector<ParallelResult> measure_parallel(
    ModelHost& model, const std::vector<int64_t>& counts, int64_t prompt, int64_t tokens,
    const Budget& budget, const std::function<void(const ParallelResult&)>& after) {
    std::vector<ParallelResult> results;
    for (const int64_t count : counts) {
        measure(model, count, std::min<int64_t>(prompt, 16), std::min<int64_t>(tokens, 16),
                budget);  // captures graphs, and warms up
        results.push_back(measure(model, count, prompt, tokens, budget));
        after(results.back());
    }
    return results;
}

std::string parallel_table(const std::vector<ParallelResult>& results) {
    std::string table =
        fmt::format("| {:>5} | {:>5} | {:>3} | {:>8} | {:>9} | {:>8} | {:>9} | {:>9} |\n", "PP",
                    "TG", "B", "T_PP s", "S_PP t/s", "first s", "S_TG t/s", "t/s each");
    table += "|------:|------:|----:|---------:|----------:|---------:|----------:|----------:|\n";
    for (const ParallelResult& r : results)
        table += r.left_out.empty()
                     ? fmt::format(
                           "| {:>5} | {:>5} | {:>3} | {:>8.3f} | {:>9.1f} | {:>8.3f} | "
                           "{:>9.1f} | {:>9.1f} |\n",
                           r.prompt, r.tokens, r.sequences, r.prompt_seconds,
                           static_cast<double>(r.prompt * r.sequences) / r.prompt_seconds,
                           r.first_seconds, r.tokens_per_second,
                           r.tokens_per_second / static_cast<double>(r.sequences))
                     : fmt::format("| {:>5} | {:>5} | {:>3} | left out: {} |\n", r.prompt, r.tokens,
                                   r.sequences, r.left_out);
    return table;
}

std::string parallel_json(const std::vector<ParallelResult>& results) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const ParallelResult& r : results) {
        nlohmann::ordered_json one = {
            {"prompt", r.prompt}, {"tokens", r.tokens}, {"sequences", r.sequences}};
        if (r.left_out.empty()) {
            one["prompt_seconds"] = r.prompt_seconds;
            one["first_token_seconds"] = r.first_seconds;
            one["tokens_per_second"] = r.tokens_per_second;
        } else {
            one["left_out"] = r.left_out;
        }
        list.push_back(one);
    }
    return list.dump(2) + "\n";
}

}  // namespace hetune
