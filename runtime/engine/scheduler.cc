#include "runtime/engine/scheduler.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <utility>

#include "runtime/compile/stopwatch.h"

namespace hetune {
namespace {

// One object, which nobody else has: copies of an exception would share its text.
std::exception_ptr device_lost(const std::string& why) {
    try {
        throw DeviceLost(why);
    } catch (...) {
        return std::current_exception();
    }
}

}  // namespace

Scheduler::Scheduler(const std::function<std::unique_ptr<Engine>()>& make, int most_waiting)
    : most_waiting_(static_cast<size_t>(most_waiting)) {
    std::promise<void> made;
    std::future<void> ready = made.get_future();
    thread_ = std::thread([this, make, made = std::move(made)]() mutable {
        try {
            engine_ = make();
        } catch (...) {
            made.set_exception(std::current_exception());
            return;
        }
        made.set_value();
        loop();
    });
    try {
        ready.get();
    } catch (...) {
        thread_.join();
        throw;
    }
}

Scheduler::~Scheduler() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = woken_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Scheduler::submit(const RequestPtr& request) {
    if (request->sequence != nullptr) {
        const int64_t kept = request->keep < 0 ? request->sequence->size() : request->keep;
        check_fits(request->tokens, kept, context(), vocabulary());
        if (request->draws > 0 && request->tokens.empty() && kept == 0)
            throw RequestError("the prompt has no token");
    }
    // So that no token takes memory.
    if (request->draws > 0) request->drawn_.reserve(2 * Request::kMostUntaken);
    request->wake_ = [this] {
        {
            const std::lock_guard lock(mutex_);
            woken_ = true;
        }
        wake_.notify_one();
    };
    {
        const std::lock_guard lock(mutex_);
        if (!lost_.empty()) throw DeviceLost(lost_);
        if (in_progress_ >= most_waiting_)
            throw Overloaded(
                fmt::format("{} calls wait for this model or run, as many as "
                            "ModelOptions::most_waiting allows; try again later",
                            in_progress_));
        submitted_.push_back(request);
        ++in_progress_;
    }
    request->wake_();
}

void Scheduler::release(std::shared_ptr<SequenceState> sequence) {
    {
        const std::lock_guard lock(mutex_);
        released_.push_back(std::move(sequence));
        woken_ = true;
    }
    wake_.notify_one();
}

void Scheduler::run(std::function<void(Engine& engine)> task,
                    std::shared_ptr<SequenceState> sequence) {
    const auto request = std::make_shared<Request>();
    request->sequence = std::move(sequence);
    request->task = std::move(task);
    submit(request);
    request->finish();
}

void Scheduler::loop() {
    for (;;) {
        const bool reads = admit();
        const bool idle = !reads && std::ranges::none_of(active_, [&](const RequestPtr& request) {
            return is_due(*request);
        });
        if (!take_mail(idle && !write_prefix())) break;
        step_drawing();
        step_computing();
    }
    while (!active_.empty()) end(*active_.back(), Ending::kCancelled);
    while (!waiting_.empty()) end(*waiting_.back(), Ending::kCancelled);
    while (write_prefix()) {
    }
    engine_.reset();
}

bool Scheduler::take_mail(bool waits) {
    std::vector<std::shared_ptr<SequenceState>> released;
    std::vector<RequestPtr> arrived;
    {
        std::unique_lock lock(mutex_);
        if (waits) {
            std::optional<Clock::time_point> earliest;
            for (const auto* list : {&waiting_, &active_})
                for (const RequestPtr& request : *list)
                    if (request->deadline && (!earliest || *request->deadline < *earliest))
                        earliest = request->deadline;
            const auto woken = [&] { return woken_; };
            if (earliest)
                wake_.wait_until(lock, *earliest, woken);
            else
                wake_.wait(lock, woken);
        }
        woken_ = false;
        arrived.swap(submitted_);
        waiting_.insert(waiting_.end(), arrived.begin(), arrived.end());
        released.swap(released_);
        if (ends_) return false;
    }
    for (const auto& sequence : released) give_back(*sequence);
    for (const RequestPtr& request : arrived) begin(*request);
    return true;
}

void Scheduler::give_back(SequenceState& sequence) {
    std::erase_if(with_slots_, [&](const auto& held) { return held.get() == &sequence; });
    try {
        engine_->give_back(sequence);
    } catch (const DeviceError& error) {
        lose_device(error.what());
    }
}

bool Scheduler::write_prefix() {
    try {
        if (!engine_->write_prefix()) return false;
    } catch (const DeviceError& error) {
        lose_device(error.what());
        return false;
    }
    return true;
}

bool Scheduler::is_due(Request& request) const {
    return request.phase_ == Request::Phase::kComputing || request.has_room() ||
           request.early_ending().has_value();
}

void Scheduler::step_drawing() {
    drawing_.clear();
    for (const RequestPtr& request : active_)
        if (request->phase_ == Request::Phase::kDrawing && is_due(*request))
            drawing_.push_back(request);
    // One that is told to end, or looks at logits, takes no part in the others' step.
    const auto alone = std::ranges::stable_partition(drawing_, [](const RequestPtr& request) {
        return !request->wants_distributions && !request->early_ending();
    });
    for (const RequestPtr& request : alone) guard(*request, [&] { step(*request); });
    drawing_.erase(alone.begin(), alone.end());
    const auto most = static_cast<size_t>(engine_->most_drawn());
    if (drawing_.size() > most) {
        turn_ = (turn_ + most) % drawing_.size();
        std::ranges::rotate(drawing_, drawing_.begin() + static_cast<std::ptrdiff_t>(turn_));
        drawing_.resize(most);
    }
    // Requests that ended meanwhile, or were lost with the device, are not active any more.
    std::erase_if(drawing_, [&](const RequestPtr& request) {
        return std::ranges::find(active_, request) == active_.end();
    });
    if (!drawing_.empty()) draw_together(drawing_);
    drawing_.clear();
}

void Scheduler::step_computing() {
    computing_.clear();
    for (const RequestPtr& request : active_)
        if (request->phase_ == Request::Phase::kComputing) computing_.push_back(request);
    if (computing_.empty()) return;
    // A task has a step of its own, and one that is told to end takes no part in a step.
    const RequestPtr oldest = computing_.front();
    const auto is_alone = [](const RequestPtr& request) {
        return request->task != nullptr || request->early_ending();
    };
    if (is_alone(oldest)) return guard(*oldest, [&] { step(*oldest); });
    std::erase_if(computing_, is_alone);
    compute_together(computing_);
    computing_.clear();
}

void Scheduler::guard(Request& request, const std::function<void()>& work) {
    // Each exception has one owner at a time: this thread is rid of its own before the caller gets
    // one.
    std::exception_ptr error;
    std::string lost;
    try {
        work();
    } catch (const DeviceError& failure) {
        lost = failure.what();
    } catch (...) {
        error = std::current_exception();
    }
    if (!lost.empty()) return lose_device(lost);
    if (error == nullptr) return;
    cut_to_computed(request);
    end(request, Ending::kCancelled, std::move(error));
}

void Scheduler::lose_device(const std::string& why) {
    {
        const std::lock_guard lock(mutex_);
        if (lost_.empty())
            lost_ = fmt::format("{}; the model cannot be used any more: load it again", why);
        waiting_.insert(waiting_.end(), submitted_.begin(), submitted_.end());
        submitted_.clear();
    }
    for (auto* list : {&active_, &waiting_})
        while (!list->empty()) end(*list->back(), Ending::kCancelled, device_lost(lost_));
}

void Scheduler::step(Request& request) {
    if (request.task != nullptr) {
        request.task(*engine_);
        return end(request, Ending::kDraws);
    }
    if (const auto early = request.early_ending()) {
        cut_to_computed(request);
        return finish(request, *early);
    }
    const double began = thread_seconds() - engine_->waited_seconds();
    const std::optional<Ending> ending = draw_alone(request);
    request.draw_host_seconds += thread_seconds() - engine_->waited_seconds() - began;
    if (ending) finish(request, *ending);
}

void Scheduler::compute_together(std::span<const RequestPtr> requests) {
    const double began = thread_seconds() - engine_->waited_seconds();
    sequences_.clear();
    RequestPtr first;  // whose step it is
    for (const RequestPtr& request : requests)
        guard(*request, [&] {
            SequenceState& sequence = *request->sequence;
            engine_->prepare(sequence, request->draws > 0);
            if (request->cached_tokens < 0) request->cached_tokens = sequence.computed;
            request->computed_before_ = sequence.computed;
            if (sequence.computed == sequence.size()) return;
            if (first == nullptr) first = request;
            sequences_.push_back(&sequence);
        });
    if (first != nullptr) guard(*first, [&] { engine_->compute(sequences_); });
    const double each = (thread_seconds() - engine_->waited_seconds() - began) /
                        static_cast<double>(requests.size());
    // The outputs come first: a request that ends on an error may make others compute again.
    for (const bool outputs : {true, false})
        for (const RequestPtr& request : requests)
            if (request->phase_ == Request::Phase::kComputing && request->sequence != nullptr &&
                reads_output(*request) == outputs)
                guard(*request, [&] {
                    const double goes_on = thread_seconds() - engine_->waited_seconds();
                    const auto ending = go_on(*request);
                    request->prompt_host_seconds +=
                        each + thread_seconds() - engine_->waited_seconds() - goes_on;
                    if (ending) finish(*request, *ending);
                });
}

bool Scheduler::reads_output(const Request& request) {
    const SequenceState& sequence = *request.sequence;
    if (request.wanted == Request::Output::kEach && sequence.computed > request.before_)
        return sequence.computed > request.computed_before_;
    return sequence.computed == sequence.size() &&
           (request.draws > 0 || request.wanted == Request::Output::kLast);
}

std::optional<Ending> Scheduler::go_on(Request& request) {
    SequenceState& sequence = *request.sequence;
    if (reads_output(request) && request.wanted != Request::Output::kNone &&
        sequence.computed > request.computed_before_)
        engine_->read_output(sequence, request.output);
    if (sequence.computed < sequence.size()) {
        // At the end of a stretch, of which there is one where texts are likely to part.
        if (sequence.computed > request.computed_before_ &&
            (sequence.computed >= request.awaited_ ||
             sequence.stretch_at(sequence.computed - 1).end == sequence.computed)) {
            engine_->keep_prefix(sequence);
            request.awaited_ = Request::kNone;
        }
        return std::nullopt;
    }
    if (request.draws == 0) return Ending::kDraws;
    // Another's error may have taken the logits.
    engine_->prepare(sequence, true);
    if (sequence.computed < sequence.size()) return std::nullopt;
    request.phase_ = Request::Phase::kDrawing;
    request.draws_anew_ = true;
    // The first draw follows its logits at once: others' draws would overwrite them.
    return draw_alone(request);
}

std::optional<Ending> Scheduler::draw_alone(Request& request) {
    SequenceState& sequence = *request.sequence;
    const bool first = std::exchange(request.draws_anew_, false);
    if (!first) {
        if (sequence.computed >= engine_->context()) return Ending::kContext;
        engine_->prepare(sequence, false);
        engine_->compute(sequence);
    }
    if (request.wants_distributions) {
        distribution_.clear();
        engine_->read_output(sequence, distribution_);
    }
    const int64_t left = request.draws - (sequence.size() - request.first_drawn_);
    const int32_t token = engine_->draw_first(sequence, request.sampling,
                                              {.draws = request.wants_distributions ? 0 : left,
                                               .ends = request.ends,
                                               .vocabulary = request.vocabulary});
    hand_over(request, {&token, 1});
    if (first) engine_->keep_prefix(sequence);
    return ending_of(request);
}

void Scheduler::draw_together(std::span<const RequestPtr> requests) {
    sequences_.clear();
    for (const RequestPtr& request : requests)
        if (request->sequence->computed >= engine_->context())
            guard(*request, [&] { finish(*request, Ending::kContext); });
        else
            sequences_.push_back(request->sequence.get());
    if (sequences_.empty()) return;
    const double began = thread_seconds() - engine_->waited_seconds();
    try {
        engine_->draw(sequences_);
    } catch (const DeviceError& error) {
        return lose_device(error.what());
    }
    const double each = (thread_seconds() - engine_->waited_seconds() - began) /
                        static_cast<double>(sequences_.size());
    for (const RequestPtr& request : requests) {
        SequenceState* const sequence = request->sequence.get();
        if (sequence == nullptr) continue;  // it ended above
        request->draw_host_seconds += each;
        guard(*request, [&] {
            const auto drawn =
                std::span(sequence->tokens)
                    .subspan(static_cast<size_t>(request->first_drawn_ + request->handed_));
            if (!drawn.empty()) hand_over(*request, drawn);
            engine_->check_draw(*sequence);
            if (drawn.empty()) return;
            if (const auto ending = ending_of(*request)) finish(*request, *ending);
        });
    }
}

std::optional<Ending> Scheduler::ending_of(const Request& request) const {
    const SequenceState& sequence = *request.sequence;
    if (std::ranges::find(request.ends, sequence.tokens.back()) != request.ends.end())
        return Ending::kEnd;
    if (sequence.size() - request.first_drawn_ >= request.draws) return Ending::kDraws;
    return std::nullopt;
}

void Scheduler::hand_over(Request& request, std::span<const int32_t> drawn) {
    request.handed_ += static_cast<int64_t>(drawn.size());
    {
        const std::lock_guard lock(request.mutex_);
        request.drawn_.insert(request.drawn_.end(), drawn.begin(), drawn.end());
        if (request.wants_distributions) {
            // The step may have given the logits of several tokens; the last one counts.
            const auto last = std::span(distribution_).last(static_cast<size_t>(vocabulary()));
            request.distributions_.insert(request.distributions_.end(), last.begin(), last.end());
        }
    }
    request.changed_.notify_one();
}

void Scheduler::finish(Request& request, Ending ending) {
    if (request.sequence->slot >= 0) engine_->keep_prefix(*request.sequence);
    end(request, ending);
}

void Scheduler::cut_to_computed(Request& request) {
    SequenceState* sequence = request.sequence.get();
    if (sequence == nullptr || !request.started) return;
    if (sequence->size() == request.first_drawn_)
        sequence->cut(std::min(sequence->size(), std::max(sequence->computed, request.before_)));
}

void Scheduler::end(Request& request, Ending ending, std::exception_ptr error) {
    const auto is_it = [&](const RequestPtr& held) { return held.get() == &request; };
    // Keeps the request until the caller has been told.
    RequestPtr held;
    if (const auto at = std::ranges::find_if(active_, is_it); at != active_.end()) {
        held = *at;
        active_.erase(at);
    } else if (const auto in = std::ranges::find_if(waiting_, is_it); in != waiting_.end()) {
        held = *in;
        waiting_.erase(in);
    }
    // Now the one that ran last.
    const auto at = std::ranges::find(with_slots_, request.sequence);
    if (at != with_slots_.end()) std::rotate(at, at + 1, with_slots_.end());
    {
        const std::lock_guard lock(mutex_);
        --in_progress_;
    }
    request.sequence.reset();  // the caller's again
    {
        const std::lock_guard lock(request.mutex_);
        request.ending = ending;
        request.error_ = std::move(error);
        request.done_ = true;
    }
    request.changed_.notify_one();
}

}  // namespace hetune
