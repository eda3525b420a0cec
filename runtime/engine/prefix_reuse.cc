#include "runtime/engine/prefix_reuse.h"

#include <algorithm>

#include "planner/plan/device_sizes.h"

namespace hetune {
namespace {

using Path = SequenceState::Path;

// Fewer tokens are computed sooner than a step that ends for their sake.
constexpr int64_t kFewest = 16;

}  // namespace

PrefixReuse::PrefixReuse(const LoadedModel& model, ContextMemory& memory)
    : memory_(memory), which_(model.options().prefixes) {
    const int64_t rows = prefill_step(model.options(), model.device().arch()).rows;
    if (memory.has_state()) unit_ = rows % kDeltaNetChunk == 0 ? kDeltaNetChunk : rows;
}

int64_t PrefixReuse::reusable(const SequenceState& sequence) const {
    if (which_ == Prefixes::kNone) return 0;
    if (!exact()) return sequence.size();
    int64_t tokens = 0;
    for (const auto& [end, path] : sequence.stretches) {
        if (path != Path::kPrompt) break;
        tokens = end;
        // A prompt behind this one begins steps where no fresh prompt would.
        if (end % unit_ != 0) break;
    }
    return tokens;
}

std::span<const int32_t> PrefixReuse::wanted(const SequenceState& sequence, int64_t most) const {
    most = std::min({most, reusable(sequence), sequence.size() - 1});
    return std::span(sequence.tokens).first(static_cast<size_t>(std::max<int64_t>(most, 0)));
}

bool PrefixReuse::read(const SequenceState& sequence, int64_t most) {
    return memory_.read_prefix(wanted(sequence, most), exact());
}

void PrefixReuse::take(SequenceState& sequence, int slot, int64_t most) {
    sequence.computed = 0;
    const auto tokens = wanted(sequence, most);
    if (tokens.empty()) return;
    const int64_t kept = memory_.has_state() ? memory_.kept(tokens, exact()) : 0;
    const PrefixTree::Prefix prefix = memory_.take_prefix(slot, tokens, exact());
    if (prefix.tokens > 0) {
        sequence.start_with(prefix.stretches);
        sequence.computed = prefix.tokens;
    }
    // Two texts part here, so a third may.
    if (kept >= sequence.computed + kFewest) divide(sequence, kept);
}

void PrefixReuse::keep(const SequenceState& sequence, bool holds_state) {
    const int64_t tokens = std::min(reusable(sequence), sequence.computed);
    if (tokens <= 0) return;
    memory_.keep_prefix(
        sequence.slot, std::span(sequence.tokens).first(static_cast<size_t>(tokens)),
        sequence.stretches,
        holds_state && tokens == sequence.computed && (!exact() || tokens % unit_ == 0));
}

int64_t PrefixReuse::divide(SequenceState& sequence, int64_t tokens) const {
    int64_t at = std::min(tokens, reusable(sequence));
    if (exact()) at = at / unit_ * unit_;
    if (at < kFewest || at <= sequence.computed) return 0;
    if (memory_.has_state()) sequence.divide(at);
    return at;
}

}  // namespace hetune
