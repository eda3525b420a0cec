#include "runtime/reference/reference_engine.h"

#include <fmt/format.h>

namespace hetune {
namespace {

std::map<std::string, ReferenceEngine::Primitive>& primitives() {
    static std::map<std::string, ReferenceEngine::Primitive> map;
    return map;
}

}  // namespace

ReferenceEngine::Register::Register(const std::string& kind, Primitive run) {
    primitives().emplace(kind, run);
}

std::span<const float> ReferenceEngine::Step::in(size_t index) const {
    return values[static_cast<size_t>(op.inputs[index])];
}

std::span<float> ReferenceEngine::Step::out(size_t index) const {
    const ValueId id = op.outputs[index];
    auto& value = values[static_cast<size_t>(id)];
    value.resize(static_cast<size_t>(rows() * width(id)));
    return value;
}

ReferenceEngine::ReferenceEngine(const ModelFile& file, LayerGraph graph, int64_t context)
    : file_(file), graph_(std::move(graph)), context_(context), values_(graph_.values.size()) {
    for (const Op& op : graph_.ops)
        if (!primitives().contains(op.kind))
            throw ModelError(fmt::format("{}: the reference backend has no primitive '{}'",
                                         file.path().string(), op.kind));
}

void ReferenceEngine::reset() {
    position_ = 0;
    state_.clear();
    tokens_.clear();
}

// From the start: nothing keeps old states here.
void ReferenceEngine::truncate(int64_t position) {
    if (position < 0 || position > position_)
        throw std::runtime_error(
            fmt::format("the context of {} tokens cannot be cut back to {}", position_, position));
    const std::vector<int32_t> kept(tokens_.begin(), tokens_.begin() + position);
    reset();
    if (!kept.empty()) forward(kept, false);
}

std::vector<float> ReferenceEngine::forward(std::span<const int32_t> tokens, bool every_row) {
    if (position_ + static_cast<int64_t>(tokens.size()) > context_)
        throw std::runtime_error(fmt::format("the context of {} tokens is full", context_));
    for (const int32_t token : tokens)
        if (token < 0 || token >= graph_.vocabulary)
            throw std::runtime_error(
                fmt::format("token {} is outside the vocabulary of {}", token, graph_.vocabulary));
    for (const Op& op : graph_.ops)
        primitives().at(op.kind)(
            Step{file_, graph_, op, tokens, position_, context_, values_, state_});
    position_ += static_cast<int64_t>(tokens.size());
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    const auto& logits = values_[static_cast<size_t>(graph_.logits)];
    return every_row ? logits : std::vector<float>(logits.end() - graph_.vocabulary, logits.end());
}

}  // namespace hetune
