// Admission: the scheduler starts requests that wait, and makes room for them.
#include <algorithm>

#include "runtime/engine/scheduler.h"

namespace hetune {

bool Scheduler::admit() {
    bool blocked = false;  // those behind wait for their turn
    bool reads = false;
    for (size_t i = 0; i < waiting_.size();) {
        const RequestPtr request = waiting_[i];
        if (const auto early = request->early_ending()) {
            cut_to_computed(*request);
            end(*request, *early);
            continue;
        }
        if (blocked || !request->has_room() || awaits_prefix(*request)) {
            ++i;
            continue;
        }
        bool started = false;
        guard(*request, [&] {
            // The last drawn token of a full context has no place in it.
            if (request->sequence != nullptr && request->sequence->size() > engine_->context())
                return end(*request, Ending::kContext);
            if (reads_prefix(*request)) {
                reads = true;
                return;
            }
            started = request->sequence == nullptr || take_slot(*request);
            if (!started || request->task != nullptr) return;
            for (const int64_t at : {request->parting, request->sequence->size()})
                engine_->expect_parting(*request->sequence, at);
        });
        const auto still = std::ranges::find(waiting_, request);
        if (still == waiting_.end()) continue;  // it ended
        if (!started) {
            blocked = true;
            continue;
        }
        request->phase_ = Request::Phase::kComputing;
        waiting_.erase(still);
        active_.push_back(request);
    }
    return reads;
}

bool Scheduler::reads_prefix(Request& request) {
    if (request.has_read_ || request.task != nullptr || request.sequence == nullptr ||
        request.sequence->slot >= 0)
        return false;
    request.has_read_ = !engine_->read_prefix(*request.sequence, most_taken(request));
    return !request.has_read_;
}

void Scheduler::begin(Request& request) {
    if (request.sequence == nullptr) return;
    SequenceState& sequence = *request.sequence;
    if (request.keep >= 0) sequence.cut(request.keep);
    request.before_ = sequence.size();
    sequence.append(request.tokens, request.path);
    request.first_drawn_ = sequence.size();
    request.started = true;
}

bool Scheduler::awaits_prefix(const Request& request) {
    if (request.task != nullptr || request.sequence->slot >= 0) return false;
    // One token at least it computes itself.
    const std::span<const int32_t> all = request.sequence->tokens;
    const auto tokens = all.first(static_cast<size_t>(
        std::min(most_taken(request), std::max<int64_t>(std::ssize(all) - 1, 0))));
    for (const RequestPtr& other : active_) {
        if (other->phase_ != Request::Phase::kComputing || other->sequence == nullptr) continue;
        SequenceState& theirs = *other->sequence;
        const int64_t common = std::ranges::mismatch(tokens, theirs.tokens).in1 - tokens.begin();
        const int64_t at = common > theirs.computed ? engine_->expect_parting(theirs, common) : 0;
        if (at == 0) continue;
        other->awaited_ = std::min(other->awaited_, at);
        return true;
    }
    return false;
}

int64_t Scheduler::most_taken(const Request& request) {
    // Output that is asked for is not there for tokens that others computed.
    return request.wanted == Request::Output::kEach ? request.before_ : request.sequence->size();
}

bool Scheduler::take_slot(const Request& request) {
    const std::shared_ptr<SequenceState>& sequence = request.sequence;
    const bool has_one = sequence->slot >= 0;
    // A task may append as much as there is room for.
    const int64_t tokens =
        request.task != nullptr ? context() : sequence->size() + std::min(request.draws, context());
    while (!engine_->take_slot(*sequence, std::min(tokens, context()), most_taken(request))) {
        const auto idle = std::ranges::find_if(with_slots_, [&](const auto& held) {
            return held != sequence && std::ranges::none_of(active_, [&](const RequestPtr& other) {
                       return other->sequence == held;
                   });
        });
        if (idle == with_slots_.end()) {
            // A caller who takes nothing gives way: maybe the caller waits for this very request.
            const auto stalled = std::ranges::find_if(active_, [](const RequestPtr& request) {
                return request->phase_ == Request::Phase::kDrawing && !request->has_room();
            });
            if (stalled == active_.end()) return false;
            engine_->keep_prefix(*(*stalled)->sequence);
            waiting_.push_back(*stalled);
            active_.erase(stalled);
            continue;
        }
        const std::shared_ptr<SequenceState> evicted = *idle;
        with_slots_.erase(idle);
        engine_->give_back(*evicted);
    }
    if (!has_one) with_slots_.push_back(sequence);
    return true;
}

}  // namespace hetune
