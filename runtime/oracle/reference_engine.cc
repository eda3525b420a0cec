#include "runtime/oracle/reference_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "kernel_templates/quant/registry.h"
#include "runtime/load/bad_numbers.h"
#include "runtime/oracle/primitives.h"
#include "runtime/oracle/sampler.h"

namespace hetune {
namespace {

// Tokens of a prompt between two questions whether to go on; fewer dequantise the weights too
// often.
constexpr int64_t kPromptRows = 32;

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

// Kernels take activations in 8 bits where every weight that they multiply with them allows it.
std::vector<float> ReferenceEngine::Step::factor(std::span<const float> x, size_t first,
                                                 size_t count) const {
    std::vector<float> values(x.begin(), x.end());
    for (size_t i = first; i < first + count; ++i) {
        const QuantFormat* format = find_quant(weight(i).ggml_type);
        if (!rounding.activations || format == nullptr || !format->integer ||
            rounding.halves.contains(op.weights[i]))
            return values;
    }
    reference::round_to_8_bits(values, 32);
    return values;
}

ReferenceEngine::ReferenceEngine(const ModelFile& file, LayerGraph graph, int64_t context,
                                 OracleRounding rounding)
    : file_(file),
      graph_(std::move(graph)),
      context_(context),
      rounding_(std::move(rounding)),
      values_(graph_.values.size()) {
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
void ReferenceEngine::truncate(int64_t count) {
    if (count < 0 || count > std::ssize(tokens_))
        throw std::runtime_error(fmt::format("the context of {} tokens cannot be cut back to {}",
                                             tokens_.size(), count));
    tokens_.resize(static_cast<size_t>(count));
    if (count >= position_) return;
    const std::vector<int32_t> kept = std::move(tokens_);
    reset();
    tokens_ = kept;
    run_to(count);
}

std::span<const float> ReferenceEngine::run_to(int64_t end) {
    if (position_ >= end) return {};
    const auto tokens = std::span(tokens_).subspan(static_cast<size_t>(position_),
                                                   static_cast<size_t>(end - position_));
    for (const Op& op : graph_.ops)
        primitives().at(op.kind)(
            Step{file_, graph_, op, tokens, position_, context_, values_, state_, rounding_});
    position_ = end;
    return values_[static_cast<size_t>(graph_.logits)];
}

std::vector<float> ReferenceEngine::forward(std::span<const int32_t> tokens, bool every_row) {
    check_fits(tokens, std::ssize(tokens_), context_, graph_.vocabulary);
    if (tokens.empty()) return {};
    run_to(std::ssize(tokens_));
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    std::span<const float> logits = run_to(std::ssize(tokens_));
    if (!every_row) logits = logits.last(static_cast<size_t>(graph_.vocabulary));
    if (!all_finite(logits)) throw_number_error();
    return {logits.begin(), logits.end()};
}

int32_t ReferenceEngine::prompt(std::span<const int32_t> tokens, const Sampling& sampling,
                                const DrawLimit& limit) {
    check_sampling(sampling);
    check_fits(tokens, std::ssize(tokens_), context_, graph_.vocabulary);
    if (tokens.empty() && position_ == std::ssize(tokens_))
        throw std::runtime_error("the prompt has no token");
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
    std::span<const float> logits;
    while (position_ < std::ssize(tokens_)) {
        if (limit.cancelled && limit.cancelled()) {
            tokens_.resize(static_cast<size_t>(position_));
            throw Cancelled();
        }
        logits = run_to(std::min(position_ + kPromptRows, std::ssize(tokens_)));
    }
    sampling_ = sampling;
    drawable_ = limit.vocabulary > 0 ? limit.vocabulary : static_cast<int32_t>(graph_.vocabulary);
    draws_ = first_draw(tokens_.size());
    return draw(logits);
}

int32_t ReferenceEngine::next() {
    if (position_ >= context_) throw_context_full(context_);
    return draw(run_to(std::ssize(tokens_)));
}

int32_t ReferenceEngine::draw(std::span<const float> logits) {
    const auto of_vocabulary =
        logits.last(static_cast<size_t>(graph_.vocabulary)).first(static_cast<size_t>(drawable_));
    const int32_t token = reference::draw(of_vocabulary, sampling_, tokens_, draws_++).token;
    if (token == kNothingDrawn) throw_number_error();
    tokens_.push_back(token);
    return token;
}

void ReferenceEngine::throw_number_error() {
    std::optional<BadNumber> first;
    const auto rows = std::ssize(values_[static_cast<size_t>(graph_.logits)]) / graph_.vocabulary;
    for (const Op& op : graph_.ops)
        for (const ValueId id : op.outputs)
            if (!first)
                first = find_bad_number(
                    values_[static_cast<size_t>(id)], graph_.values[static_cast<size_t>(id)].width,
                    position_ - rows, graph_.values[static_cast<size_t>(id)].name);
    const auto tokens = std::ssize(tokens_);
    reset();
    throw NumberError(number_error_text(file_, std::nullopt, first, tokens));
}

}  // namespace hetune
