#include <cmath>

#include "runtime/api/hetune.h"
#include "runtime/api/model_host.h"

namespace hetune {
namespace {

// `{arch}.pooling_type` as llama.cpp writes it: 1 mean, 3 last.
Pooling pooling_of(const ModelFile& file) {
    const std::string arch = file.get_string("general.architecture", "");
    return file.get_int(arch + ".pooling_type", 0) == 1 ? Pooling::kMean : Pooling::kLast;
}

std::vector<float> pool(std::span<const float> states, size_t width, Pooling pooling,
                        bool normalised) {
    std::vector<double> sum(width);
    const size_t rows = states.size() / width;
    for (size_t row = pooling == Pooling::kMean ? 0 : rows - 1; row < rows; ++row)
        for (size_t i = 0; i < width; ++i) sum[i] += states[row * width + i];
    double length = static_cast<double>(pooling == Pooling::kMean ? rows : 1);
    if (normalised) {
        length = 0;
        for (const double v : sum) length += v * v;
        length = std::sqrt(length);
    }
    std::vector<float> vector(width);
    for (size_t i = 0; i < width; ++i)
        vector[i] = length > 0 ? static_cast<float>(sum[i] / length) : 0;
    return vector;
}

}  // namespace

std::vector<int32_t> Model::tokenize_for_embedding(std::string_view text) const {
    return host().text->tokenizer().encode(text, true, false);
}

std::vector<float> Model::embed(std::string_view text, Pooling pooling, bool normalised) const {
    return embed(tokenize_for_embedding(text), pooling, normalised);
}

std::vector<float> Model::embed(std::span<const int32_t> tokens, Pooling pooling,
                                bool normalised) const {
    ModelHost& model = host();
    if (!model.options.embeddings)
        throw OptionError(
            "Model::embed() needs a model that was loaded with "
            "ModelOptions::embeddings");
    if (tokens.empty()) throw RequestError("there are no tokens to embed");
    struct Text {
        Scheduler& scheduler;
        std::shared_ptr<SequenceState> state = std::make_shared<SequenceState>();
        ~Text() { scheduler.release(std::move(state)); }
    } text{*model.scheduler};
    const auto request = std::make_shared<Request>();
    request->sequence = text.state;
    request->tokens.assign(tokens.begin(), tokens.end());
    request->path = SequenceState::Path::kEachHidden;
    request->wanted = Request::Output::kEach;
    model.scheduler->submit(request);
    request->finish();
    if (pooling == Pooling::kModel) pooling = pooling_of(model.file);
    return pool(request->output, static_cast<size_t>(model.info.embedding), pooling, normalised);
}

}  // namespace hetune
