#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <optional>
#include <utility>

#include "runtime/api/hetune.h"
#include "runtime/api/model_host.h"
#include "runtime/compile/stopwatch.h"
#include "runtime/text/stop_strings.h"
#include "runtime/text/stream_decoder.h"

namespace hetune {

namespace {

using Path = SequenceState::Path;

constexpr int kMostLogprobs = 20;  // as in OpenAI's interface
// How often GenerateOptions::cancelled is asked while nothing arrives.
constexpr std::chrono::milliseconds kAskEvery{20}, kLong{3'600'000};

void check_options(const GenerateOptions& options) {
    if (options.max_tokens < 0)
        throw OptionError(fmt::format("GenerateOptions::max_tokens is {}; it must be 0 or more",
                                      options.max_tokens));
    if (options.logprobs < -1 || options.logprobs > kMostLogprobs)
        throw OptionError(fmt::format("GenerateOptions::logprobs is {}; it must be -1 to {}",
                                      options.logprobs, kMostLogprobs));
    if (std::ranges::any_of(options.stop, &std::string::empty))
        throw OptionError("GenerateOptions::stop has an empty text; leave it out");
    check_sampling(options.sampling);
}

bool was_cut(Ending ending) { return ending == Ending::kCancelled || ending == Ending::kDeadline; }

Stop stop_of(Ending ending) {
    switch (ending) {
        case Ending::kEnd:
            return Stop::kEnd;
        case Ending::kDraws:
            return Stop::kLength;
        case Ending::kContext:
            return Stop::kContext;
        case Ending::kCaller:
            return Stop::kCallback;
        case Ending::kCancelled:
            return Stop::kCancelled;
        case Ending::kDeadline:
            return Stop::kDeadline;
    }
    return Stop::kLength;
}

// Natural logarithms of the probabilities: of `token`, and of the `count` most likely.
void add_logprobs(Generated& result, std::span<const float> logits, int32_t token, int count) {
    const double peak = *std::ranges::max_element(logits);
    double sum = 0;
    for (const float v : logits) sum += std::exp(v - peak);
    const double all = peak + std::log(sum);
    const auto of = [&](int32_t id) {
        return TokenLogprob{id, static_cast<float>(logits[static_cast<size_t>(id)] - all)};
    };
    result.logprobs.push_back(of(token));
    std::vector<int32_t> ids(logits.size());
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    const auto best = ids.begin() + std::min<ptrdiff_t>(count, std::ssize(ids));
    std::ranges::partial_sort(ids, best, [&](int32_t a, int32_t b) {
        const float la = logits[static_cast<size_t>(a)], lb = logits[static_cast<size_t>(b)];
        return la != lb ? la > lb : a < b;
    });
    auto& top = result.top_logprobs.emplace_back();
    for (auto at = ids.begin(); at != best; ++at) top.push_back(of(*at));
}

}  // namespace

const char* to_string(Stop stop) {
    constexpr const char* kNames[] = {"end",      "stop",      "length",  "context",
                                      "callback", "cancelled", "deadline"};
    return kNames[static_cast<size_t>(stop)];
}

struct __attribute__((visibility("hidden"))) Sequence::Impl {
    explicit Impl(std::shared_ptr<ModelHost> the_host)
        : host(std::move(the_host)), state(std::make_shared<SequenceState>()) {
        // Vectors that grow with every token get their memory now, so that no token takes any.
        state->tokens.reserve(static_cast<size_t>(host->scheduler->context()) + 1);
        state->stretches.reserve(64);
    }
    ~Impl() { host->scheduler->release(std::move(state)); }

    std::shared_ptr<Request> request() const {
        auto request = std::make_shared<Request>();
        request->sequence = state;
        return request;
    }
    struct Prompt {
        int64_t kept = 0;  // first tokens of the sequence, which stay
        std::span<const int32_t> tokens;
        int64_t parting = 0;  // Request::parting
    };
    Generated generate(const Prompt& prompt, const GenerateOptions& options, const OnText& on_text);
    // How many of the tokens of a conversation stand in front of its last message of the user.
    int64_t parting(std::vector<Message> conversation, std::span<const int32_t> tokens,
                    const std::string& kwargs) const;
    void submit(const std::shared_ptr<Request>& request) {
        const std::lock_guard lock(mutex);
        host->scheduler->submit(request);
        current = request;
        if (cancel_asked) request->cancel();
    }

    std::shared_ptr<ModelHost> host;
    std::shared_ptr<SequenceState> state;
    std::atomic<bool> in_use = false;
    std::mutex mutex;
    std::shared_ptr<Request> current;  // of the call in progress
    bool cancel_asked = false;         // since it began
};

namespace {

// The call in progress, of which there is one at a time.
template <class Impl>
class Call {
  public:
    explicit Call(Impl& sequence) : sequence_(sequence) {
        if (sequence_.in_use.exchange(true))
            throw RequestError("another call of this hetune::Sequence is in progress");
        const std::lock_guard lock(sequence_.mutex);
        sequence_.cancel_asked = false;
    }
    ~Call() {
        {
            const std::lock_guard lock(sequence_.mutex);
            sequence_.current.reset();
        }
        sequence_.in_use = false;
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

  private:
    Impl& sequence_;
};

// The text of an answer while its tokens arrive.
class Answer {
  public:
    Answer(const ModelHost& host, const GenerateOptions& options, const OnText& on_text,
           Generated& result)
        : options_(options), on_text_(on_text), result_(result), stops_(options.stop) {
        // None without a tokenizer: the tokens alone.
        if (host.text->has_tokenizer()) decoder_.emplace(host.text->tokenizer());
    }

    // True where the answer ends behind this token.
    bool add(int32_t token) {
        result_.tokens.push_back(token);
        if (!decoder_) return false;
        const std::string text = decoder_->feed(token);
        return give(options_.stop.empty() ? text : stops_.feed(text)) || stopped();
    }
    // Gives out the text that is left where the model itself, or a limit, ended the answer.
    void finish() {
        std::string rest = decoder_ ? decoder_->flush() : "";
        if (!options_.stop.empty()) {
            rest = stops_.feed(rest);
            if (!stopped()) rest += stops_.flush();
        }
        if (ended_)
            result_.text += rest;  // the callback wants no more
        else
            give(rest);
    }

  private:
    bool stopped() {
        if (stops_.found().empty()) return false;
        result_.stop = Stop::kStopString;
        result_.stop_string = stops_.found();
        return ended_ = true;
    }
    bool give(const std::string& text) {
        result_.text += text;
        if (text.empty() || !on_text_ || on_text_(text)) return false;
        result_.stop = Stop::kCallback;
        return ended_ = true;
    }

    const GenerateOptions& options_;
    const OnText& on_text_;
    Generated& result_;
    std::optional<StreamDecoder> decoder_;
    StopStrings stops_;
    bool ended_ = false;
};

}  // namespace

Sequence::Sequence(std::shared_ptr<ModelHost> host)
    : impl_(std::make_unique<Impl>(std::move(host))) {}
Sequence::~Sequence() = default;
Sequence::Sequence(Sequence&&) noexcept = default;
Sequence& Sequence::operator=(Sequence&&) noexcept = default;

Sequence::Impl& Sequence::impl() const {
    if (impl_ == nullptr) throw RequestError("this hetune::Sequence was moved from");
    return *impl_;
}

// The scheduler keeps the computed tokens of each sequence for others, so there is nothing to share
// but the knowledge of what they are.
Sequence Sequence::fork() const {
    Impl& me = impl();
    const Call call(me);
    Sequence other(me.host);
    SequenceState& state = *other.impl_->state;
    state.tokens.assign(me.state->tokens.begin(), me.state->tokens.end());
    state.stretches.assign(me.state->stretches.begin(), me.state->stretches.end());
    return other;
}

void Sequence::append(std::span<const int32_t> tokens) {
    Impl& me = impl();
    const Call call(me);
    const auto request = me.request();
    request->tokens.assign(tokens.begin(), tokens.end());
    me.submit(request);
    request->finish();
    if (was_cut(request->ending))
        throw CallCancelled("Sequence::append() was cancelled; the computed tokens stay");
    me.host->callbacks.rethrow();
}

void Sequence::append(std::string_view text) {
    const ModelHost& host = *impl().host;
    append(host.text->tokenizer().encode_prompt(text, tokens().empty(), true));
}

Generated Sequence::generate(std::string_view prompt, const GenerateOptions& options,
                             const OnText& on_text) {
    const ModelHost& host = *impl().host;
    return generate(host.text->tokenizer().encode_prompt(prompt, tokens().empty(), true), options,
                    on_text);
}

Generated Sequence::generate(std::span<const int32_t> prompt, const GenerateOptions& options,
                             const OnText& on_text) {
    Impl& me = impl();
    const Call call(me);
    return me.generate({me.state->size(), prompt}, options, on_text);
}

Generated Sequence::Impl::generate(const Prompt& prompt, const GenerateOptions& options,
                                   const OnText& on_text) {
    check_options(options);
    Generated result;
    const int64_t first = prompt.kept + std::ssize(prompt.tokens);  // where the answer begins
    const auto request = this->request();
    request->keep = prompt.kept;
    request->tokens.assign(prompt.tokens.begin(), prompt.tokens.end());
    request->parting = prompt.parting;
    request->draws = options.max_tokens;
    request->sampling = options.sampling;
    if (!options.ignore_end) request->ends = host->ends;
    request->vocabulary = host->drawable;
    request->wants_distributions = options.logprobs >= 0;
    request->deadline = options.deadline;
    result.tokens.reserve(static_cast<size_t>(
        std::clamp<int64_t>(host->scheduler->context() - first, 0, options.max_tokens)));

    Answer answer(*host, options, on_text, result);
    const auto width = static_cast<size_t>(host->scheduler->vocabulary());
    std::vector<int32_t> drawn;
    std::vector<float> distributions;
    bool stopped = false;  // by the answer's text
    Stopwatch watch;
    const auto take = [&] {
        for (size_t i = 0; i < drawn.size() && !stopped; ++i) {
            if (std::ranges::find(request->ends, drawn[i]) != request->ends.end()) break;
            if (options.logprobs >= 0)
                add_logprobs(result, std::span(distributions).subspan(i * width, width), drawn[i],
                             options.logprobs);
            stopped = answer.add(drawn[i]);
            if (stopped) request->stop();
        }
    };
    if (options.cancelled && options.cancelled()) {
        result.stop = Stop::kCancelled;
        return result;
    }
    submit(request);
    try {
        for (bool done = false; !done;) {
            drawn.clear();
            distributions.clear();
            done = request->receive(drawn, distributions, options.cancelled ? kAskEvery : kLong);
            if (result.prefill_seconds == 0 && (done || !drawn.empty()))
                result.prefill_seconds = watch.lap() / 1e3;
            take();
            if (!done && !stopped && options.cancelled && options.cancelled()) request->cancel();
        }
        request->finish();
    } catch (...) {
        request->stop();
        while (!request->receive(drawn, distributions, kLong)) {
        }
        if (request->started)
            state->cut(std::min(state->size(), first + std::ssize(result.tokens)));
        throw;
    }
    result.decode_seconds = watch.lap() / 1e3;
    result.prefill_host_seconds = request->prompt_host_seconds;
    result.decode_host_seconds = request->draw_host_seconds;
    if (stopped)
        state->cut(first + std::ssize(result.tokens));
    else
        result.stop = stop_of(request->ending);
    // A prompt that was cut off counts as far as it was computed.
    result.cached_tokens = std::max<int64_t>(request->cached_tokens, 0);
    const bool cut_off = was_cut(request->ending) && result.tokens.empty();
    result.prompt_tokens =
        request->cached_tokens < 0
            ? 0
            : std::max<int64_t>((cut_off ? state->size() : first) - result.cached_tokens, 0);
    answer.finish();
    host->callbacks.rethrow();
    return result;
}

// Clients send a conversation again with another last message, and templates drop the reasoning in
// front of it: up to there the next prompt is the same. Only recurrent models need to be told.
int64_t Sequence::Impl::parting(std::vector<Message> conversation, std::span<const int32_t> tokens,
                                const std::string& kwargs) const {
    if (!host->memory || !host->memory->has_state() || !host->options.prefix_cache) return 0;
    const auto last = std::ranges::find(conversation.rbegin(), conversation.rend(),
                                        std::string("user"), &Message::role);
    if (last == conversation.rend()) return 0;
    last->content = last->content.starts_with('.') ? "?" : ".";
    const std::vector<int32_t> other = Model(host).render(conversation, kwargs);
    return std::ranges::mismatch(tokens, other).in1 - tokens.begin();
}

Generated Sequence::chat(const std::vector<Message>& conversation, const GenerateOptions& options,
                         const OnText& on_text, const std::string& kwargs) {
    Impl& me = impl();
    const Call call(me);
    const std::vector<int32_t> tokens = Model(me.host).render(conversation, kwargs);
    // Tokens that the sequence already holds need not be computed again. Where the conversation was
    // edited, or the template rewrites earlier turns, it goes back to where they part; one token is
    // left to run.
    const std::vector<int32_t>& held = me.state->tokens;
    const auto parting = std::ranges::mismatch(held, tokens).in1 - held.begin();
    const int64_t kept = std::min<int64_t>(parting, std::ssize(tokens) - 1);
    return me.generate({kept, std::span(tokens).subspan(static_cast<size_t>(kept)),
                        me.parting(conversation, tokens, kwargs)},
                       options, on_text);
}

std::vector<float> Sequence::logits(std::span<const int32_t> tokens, const LogitsOptions& options) {
    Impl& me = impl();
    const Call call(me);
    const auto request = me.request();
    request->tokens.assign(tokens.begin(), tokens.end());
    request->path = options.one_by_one       ? Path::kAnswer
                    : options.every_position ? Path::kEachLogits
                                             : Path::kPrompt;
    request->wanted = options.every_position ? Request::Output::kEach : Request::Output::kLast;
    me.submit(request);
    request->finish();
    if (was_cut(request->ending))
        throw CallCancelled("Sequence::logits() was cancelled; the computed tokens stay");
    me.host->callbacks.rethrow();
    return std::move(request->output);
}

void Sequence::truncate(int64_t count) {
    Impl& me = impl();
    const Call call(me);
    if (count < 0 || count > me.state->size())
        throw RequestError(fmt::format("the sequence of {} tokens cannot be cut back to {}",
                                       me.state->size(), count));
    me.state->cut(count);
}

std::span<const int32_t> Sequence::tokens() const { return impl().state->tokens; }

int64_t Sequence::room() const {
    const Impl& me = impl();
    // The last drawn token of a full context has no place in it.
    return std::max<int64_t>(me.host->scheduler->context() - me.state->size(), 0);
}

void Sequence::cancel() noexcept {
    if (impl_ == nullptr) return;
    const std::lock_guard lock(impl_->mutex);
    impl_->cancel_asked = true;
    if (impl_->current != nullptr) impl_->current->cancel();
}

}  // namespace hetune
