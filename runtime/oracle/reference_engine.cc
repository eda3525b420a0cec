#include "runtime/oracle/reference_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "runtime/load/bad_numbers.h"
#include "runtime/oracle/sampler.h"

namespace hetune {
namespace {

// Tokens of a step of a prompt, behind which the caller may stop; fewer dequantise the weights too
// often.
constexpr int64_t kPromptRows = 32;

}  // namespace

ReferenceEngine::ReferenceEngine(const ModelFile& file, LayerGraph graph, int64_t context,
                                 OracleRounding rounding)
    : file_(file),
      graph_(std::move(graph)),
      context_(context),
      rounding_(std::move(rounding)),
      values_(graph_.values.size()) {}

bool ReferenceEngine::take_slot(SequenceState& sequence, int64_t, int64_t) {
    if (sequence.slot >= 0) return true;
    if (taken_) return false;
    taken_ = true;
    sequence.slot = 0;
    sequence.computed = 0;
    return true;
}

void ReferenceEngine::give_back(SequenceState& sequence) {
    if (sequence.slot < 0) return;
    sequence.slot = -1;
    taken_ = false;
    position_ = last_rows_ = 0;
    state_.clear();
}

void ReferenceEngine::compute(std::span<SequenceState* const> sequences) {
    SequenceState& sequence = *sequences.front();
    prepare(sequence, false);
    const SequenceState::Stretch& stretch = sequence.stretch_at(sequence.computed);
    // The logits of each token are those of one step, since value() is asked about it.
    const bool whole = stretch.path == SequenceState::Path::kEachLogits ||
                       stretch.path == SequenceState::Path::kEachHidden;
    run_to(sequence, whole ? stretch.end : std::min(stretch.end, sequence.computed + kPromptRows));
}

void ReferenceEngine::run_to(SequenceState& sequence, int64_t end) {
    last_rows_ = end - position_;
    const auto tokens =
        std::span(sequence.tokens)
            .subspan(static_cast<size_t>(position_), static_cast<size_t>(last_rows_));
    const OracleStep step{file_, graph_, tokens, position_, values_, state_, rounding_};
    for (const PrimitiveOp& op : graph_.ops)
        std::visit([&](const auto& of_kind) { run(of_kind, step); }, op);
    sequence.computed = position_ = end;
}

std::span<const float> ReferenceEngine::logits(int64_t rows) const {
    return std::span(values_[static_cast<size_t>(graph_.logits)])
        .last(static_cast<size_t>(rows * graph_.vocabulary));
}

void ReferenceEngine::read_output(SequenceState& sequence, std::vector<float>& to) {
    const auto path = sequence.stretch_at(sequence.computed - 1).path;
    const std::span<const float> rows =
        path == SequenceState::Path::kEachHidden
            ? value(graph_.hidden_states)
            : logits(path == SequenceState::Path::kEachLogits ? last_rows_ : 1);
    if (!all_finite(rows)) throw_number_error(sequence);
    to.insert(to.end(), rows.begin(), rows.end());
}

void ReferenceEngine::prepare(SequenceState& sequence, bool draws) {
    const bool spent = draws && sequence.computed == sequence.size() && last_rows_ == 0;
    if (sequence.computed == position_ && !spent) return;
    // From the start: nothing keeps old states here.
    sequence.computed = position_ = last_rows_ = 0;
    state_.clear();
}

int32_t ReferenceEngine::draw_first(SequenceState& sequence, const Sampling& sampling,
                                    const DrawLimit& limit) {
    sampling_ = sampling;
    limit_ = limit;
    if (limit.vocabulary <= 0) limit_.vocabulary = static_cast<int32_t>(graph_.vocabulary);
    draws_ = first_draw(sequence.tokens.size());
    const int32_t token = draw_one(sequence);
    check_draw(sequence);
    return token;
}

void ReferenceEngine::draw(std::span<SequenceState* const> sequences) {
    SequenceState& sequence = *sequences.front();
    run_to(sequence, sequence.size());
    draw_one(sequence);
}

void ReferenceEngine::check_draw(SequenceState& sequence) {
    if (std::exchange(sequence.bad_logits, false)) throw_number_error(sequence);
}

int32_t ReferenceEngine::draw_one(SequenceState& sequence) {
    const auto drawable = logits(1).first(static_cast<size_t>(limit_.vocabulary));
    const int32_t token = reference::draw(drawable, sampling_, sequence.tokens, draws_++).token;
    sequence.bad_logits = token == kNothingDrawn;
    if (!sequence.bad_logits) sequence.add_drawn(token);
    return token;
}

void ReferenceEngine::throw_number_error(SequenceState& sequence) {
    std::optional<BadNumber> first;
    for (const PrimitiveOp& op : graph_.ops)
        for (const ValueId id : outputs_of(op))
            if (!first)
                first = find_bad_number(
                    values_[static_cast<size_t>(id)], graph_.values[static_cast<size_t>(id)].width,
                    position_ - last_rows_, graph_.values[static_cast<size_t>(id)].name);
    const int64_t tokens = sequence.computed;
    sequence.cut(0);
    throw NumberError(number_error_text(file_, std::nullopt, first, tokens));
}

std::vector<float> oracle_logits(ReferenceEngine& oracle, std::span<const int32_t> tokens) {
    SequenceState sequence;
    oracle.take_slot(sequence, static_cast<int64_t>(tokens.size()), 0);
    std::vector<float> logits =
        append_for_output(oracle, sequence, tokens, SequenceState::Path::kEachLogits);
    oracle.give_back(sequence);
    return logits;
}

}  // namespace hetune
