#include "runtime/load/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "planner/plan/device_sizes.h"
#include "runtime/device/readable_bytes.h"

namespace hetune {

int64_t MemoryNeeds::kv_pages() const {
    return (context + kPageTokens - 1) / kPageTokens * sequences;
}

int64_t MemoryNeeds::kv() const { return kv_per_token * kPageTokens * kv_pages(); }

MemoryNeeds memory_needs(std::span<const Plan> plans, const ContextNeeds& contexts,
                         int64_t code_bytes) {
    MemoryNeeds needs{
        .code = code_bytes, .context = contexts.context, .sequences = contexts.sequences};
    std::map<std::string, PlanBuffer> shared;  // by name; of scratch the largest
    for (const Plan& plan : plans)
        for (const PlanBuffer& buffer : plan.buffers) {
            const bool own = buffer.role == BufferRole::kStep ||
                             buffer.role == BufferRole::kTokens ||
                             buffer.role == BufferRole::kLogits;
            if (own) {
                needs.scratch += buffer.bytes;
                continue;
            }
            const auto at = shared.emplace(buffer.name, buffer).first;
            at->second.bytes = std::max(at->second.bytes, buffer.bytes);
        }
    for (const auto& [name, buffer] : shared) {
        needs.kv_per_token += buffer.bytes_per_context;
        switch (buffer.role) {
            case BufferRole::kTiles:
            case BufferRole::kRaw:
            case BufferRole::kTurns:
                needs.weights += buffer.bytes;
                break;
            case BufferRole::kState:
                needs.state += contexts.sequences * buffer.bytes;
                break;
            default:
                needs.scratch += buffer.bytes;
        }
    }
    needs.snapshots = contexts.snapshots * needs.state;
    needs.checkpoints = contexts.checkpoints * (needs.state / contexts.sequences);
    return needs;
}

int64_t largest_context(const MemoryNeeds& needs, int64_t limit) {
    const int64_t left = limit - (needs.total() - needs.kv());
    if (left <= 0) return 0;
    if (needs.kv_per_token == 0) return needs.context;
    return left / (needs.kv_per_token * needs.sequences) / kPageTokens * kPageTokens;
}

int64_t largest_parallel(const MemoryNeeds& needs, int64_t limit) {
    const int64_t of_sequences = needs.kv() + needs.state + needs.snapshots;
    const int64_t left = limit - (needs.total() - of_sequences);
    if (left <= 0) return 0;
    if (of_sequences == 0) return needs.sequences;
    return std::min(left / (of_sequences / needs.sequences), needs.sequences);
}

std::string memory_table(const MemoryNeeds& needs) {
    std::string table;
    auto row = [&](const std::string& name, int64_t bytes) {
        table += fmt::format("  {:<28} {:>12}\n", name, readable_bytes(bytes));
    };
    row("weights", needs.weights);
    row(needs.sequences == 1
            ? fmt::format("KV cache, {} tokens", needs.context)
            : fmt::format("KV cache, {} x {} tokens", needs.sequences, needs.context),
        needs.kv());
    if (needs.state > 0)
        row(needs.sequences == 1 ? "recurrent state"
                                 : fmt::format("recurrent state, {} slots", needs.sequences),
            needs.state);
    if (needs.snapshots > 0)
        row(fmt::format("{} snapshots of the state", needs.snapshots / needs.state),
            needs.snapshots);
    if (needs.checkpoints > 0)
        row(fmt::format("{} checkpoints of the state",
                        needs.checkpoints / (needs.state / needs.sequences)),
            needs.checkpoints);
    row("activations", needs.scratch);
    if (needs.code > 0) row("code", needs.code);
    row("together", needs.total());
    return table;
}

void check_memory(const MemoryNeeds& needs, int64_t limit, const std::string& device) {
    if (needs.total() <= limit) return;
    std::string advice;
    if (const int64_t context = largest_context(needs, limit); context > 0)
        advice =
            fmt::format("  The largest context that fits: ModelOptions::context = {}", context);
    if (const int64_t parallel = largest_parallel(needs, limit);
        needs.sequences > 1 && parallel > 0)
        advice += fmt::format("{}  With {} tokens each fit: ModelOptions::parallel = {}",
                              advice.empty() ? "" : "\n", needs.context, parallel);
    if (advice.empty())
        advice = needs.sequences == 1
                     ? "  It does not fit at any context; take a smaller quantisation."
                     : "  It does not fit at any context for so many sequences; take fewer, or a "
                       "smaller quantisation.";
    throw MemoryError(fmt::format("the model does not fit: {} needed, {} free on {}\n{}{}",
                                  readable_bytes(needs.total()), readable_bytes(limit), device,
                                  memory_table(needs), advice));
}

}  // namespace hetune
