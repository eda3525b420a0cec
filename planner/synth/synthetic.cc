#include "planner/synth/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numbers>
#include <random>
#include <stdexcept>

#include "planner/synth/gguf_output.h"
#include "planner/synth/quant_mix.h"
#include "planner/synth/random_blocks.h"
#include "planner/synth/vocabulary.h"

namespace hetune {
namespace {

constexpr int64_t kPoolBytes = 1 << 20;  // of random blocks, from which a matrix is drawn
constexpr int64_t kRunBytes = 1 << 16;   // copied at once

void set_metadata(GgufOutput& file, const ModelShape& s, const std::string& quant) {
    const std::string arch = s.architecture + ".";
    file.set("general.architecture", s.architecture);
    file.set("general.name", "synthetic " + s.name);
    file.set("general.file_type", file_type_of(quant));
    file.set("general.quantization_version", int64_t{2});
    file.set(arch + "block_count", int64_t{s.layers + s.predicting_layers});
    if (s.predicting_layers > 0)
        file.set(arch + "nextn_predict_layers", int64_t{s.predicting_layers});
    file.set(arch + "context_length", s.context);
    file.set(arch + "embedding_length", s.hidden);
    file.set(arch + "vocab_size", s.vocabulary);
    file.set(arch + "attention.head_count", s.heads);
    file.set(arch + "attention.head_count_kv", s.kv_heads);
    file.set(arch + "attention.key_length", s.head_size);
    file.set(arch + "attention.value_length", s.head_size);
    file.set(arch + "attention.layer_norm_rms_epsilon", s.architecture == "llama" ? 1e-5 : 1e-6);
    file.set(arch + "rope.freq_base", s.rope_base);
    const int64_t rotary = s.rotary > 0 ? s.rotary : s.head_size;
    file.set(arch + "rope.dimension_count", rotary);
    if (s.inner > 0) file.set(arch + "feed_forward_length", s.inner);
    if (s.experts > 0) {
        file.set(arch + "expert_count", s.experts);
        file.set(arch + "expert_used_count", s.experts_used);
        file.set(arch + "expert_feed_forward_length", s.expert_inner);
    }
    if (s.shared_inner > 0) file.set(arch + "expert_shared_feed_forward_length", s.shared_inner);
    if (s.key_heads > 0) {
        const auto third = static_cast<int32_t>(rotary / 6);
        const auto first = static_cast<int32_t>(rotary / 2) - 2 * third;
        file.set(arch + "rope.dimension_sections", std::vector<int32_t>{first, third, third, 0});
        file.set(arch + "full_attention_interval", s.attention_interval);
        file.set(arch + "ssm.conv_kernel", s.taps);
        file.set(arch + "ssm.state_size", s.state_size);
        file.set(arch + "ssm.group_count", s.key_heads);
        file.set(arch + "ssm.time_step_rank", s.value_heads);
        file.set(arch + "ssm.inner_size", s.value_heads * s.state_size);
    }
    add_vocabulary(file, s.vocabulary, s.pre_tokenizer);
}

// Llama 3's divisors: 1 for short wavelengths, the factor for long ones, and between them a ramp.
float rope_divisor(const ModelShape& s, int64_t pair, int64_t pairs) {
    constexpr double kLow = 1, kHigh = 4, kContext = 8192;
    const double wavelength =
        2 * std::numbers::pi *
        std::pow(s.rope_base, static_cast<double>(pair) / static_cast<double>(pairs));
    const double ramp = std::clamp((kContext / wavelength - kLow) / (kHigh - kLow), 0.0, 1.0);
    return static_cast<float>(1 / ((1 - ramp) / s.rope_factor + ramp));
}

std::vector<float> float_values(const ModelShape& shape, const ShapedTensor& tensor, int64_t count,
                                std::mt19937_64& random) {
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform;
    std::vector<float> values(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
        float& v = values[static_cast<size_t>(i)];
        switch (tensor.fill) {
            case TensorFill::kMatrix:
                v = normal(random) / std::sqrt(static_cast<float>(tensor.dims[0]));
                break;
            case TensorFill::kNorm:
                v = 1.0f + 0.1f * normal(random);
                break;
            case TensorFill::kBias:
                v = 0.1f * normal(random);
                break;
            case TensorFill::kConv:
                v = uniform(random) - 0.5f;
                break;
            case TensorFill::kDecay:
                v = -1.0f - 15.0f * uniform(random);
                break;
            case TensorFill::kDtBias:
                v = -7.0f + 5.0f * uniform(random);
                break;
            case TensorFill::kRopeFreqs:
                v = rope_divisor(shape, i, count);
                break;
        }
    }
    return values;
}

// Draws runs of blocks from a pool. Rows differ, as each starts anywhere in it.
void write_blocks(std::ostream& out, const QuantFormat& format, int64_t bytes, double rms,
                  std::mt19937_64& random) {
    const int64_t pool = kPoolBytes / format.block_bytes;
    const std::vector<uint8_t> blocks = random_blocks(format, pool, rms, random);
    while (bytes > 0) {
        const auto from = static_cast<int64_t>(random() % static_cast<uint64_t>(pool));
        const int64_t run = std::min({bytes, kRunBytes / format.block_bytes * format.block_bytes,
                                      (pool - from) * format.block_bytes});
        out.write(reinterpret_cast<const char*>(blocks.data() + from * format.block_bytes), run);
        bytes -= run;
    }
}

void write_tensor(std::ostream& out, const ModelShape& shape, const ShapedTensor& tensor,
                  const GgufOutput::Tensor& placed, std::mt19937_64& random) {
    if (tensor.quantised) {
        write_blocks(out, *find_quant(placed.ggml_type), placed.bytes,
                     1.0 / std::sqrt(static_cast<double>(tensor.dims[0])), random);
    } else {
        const auto values = float_values(shape, tensor, placed.bytes / 4, random);
        out.write(reinterpret_cast<const char*>(values.data()), placed.bytes);
    }
    const char padding[GgufOutput::kAlign] = {};
    out.write(padding,
              (GgufOutput::kAlign - placed.bytes % GgufOutput::kAlign) % GgufOutput::kAlign);
}

}  // namespace

void write_synthetic(const ModelShape& shape, const SyntheticOptions& options,
                     const std::filesystem::path& path) {
    GgufOutput file;
    set_metadata(file, shape, options.quant);
    const std::vector<ShapedTensor> tensors = tensors_of(shape);
    for (const ShapedTensor& tensor : tensors)
        file.add(tensor.name, mixed_type(options.quant, shape, tensor), tensor.dims);

    const std::filesystem::path part = path.string() + ".part";
    std::ofstream out(part, std::ios::binary);
    const std::string header = file.header();
    out.write(header.data(), static_cast<std::streamsize>(header.size()));
    std::mt19937_64 random(options.seed);
    for (size_t i = 0; i < tensors.size() && out && !options.header_only; ++i) {
        write_tensor(out, shape, tensors[i], file.tensors()[i], random);
        if (options.progress)
            options.progress(file.tensors()[i].offset + file.tensors()[i].bytes, file.data_bytes());
    }
    out.close();
    std::error_code error;
    if (out) std::filesystem::rename(part, path, error);
    if (out && !error) return;
    std::filesystem::remove(part, error);
    throw std::runtime_error(fmt::format(
        "{}: cannot be written ({} bytes are needed); name a folder "
        "with room",
        path.string(),
        header.size() + (options.header_only ? 0 : static_cast<size_t>(file.data_bytes()))));
}

}  // namespace hetune
