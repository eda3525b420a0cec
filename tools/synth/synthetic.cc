#include "tools/synth/synthetic.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <fstream>
#include <numbers>
#include <random>
#include <stdexcept>

#include "kernel_templates/quant/random_blocks.h"
#include "planner/file/gguf_output.h"
#include "tools/synth/quant_mix.h"
#include "tools/synth/vocabulary.h"

namespace hetune {
namespace {

constexpr int64_t kPoolBytes = 1 << 20;    // of random blocks, from which a matrix is drawn
constexpr int64_t kRunBytes = 1 << 16;     // copied at once
constexpr int64_t kPieceBytes = 32 << 20;  // of a matrix, made by one thread

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
    if (!s.rope_scaling.empty()) {
        file.set(arch + "rope.scaling.type", s.rope_scaling);
        file.set(arch + "rope.scaling.factor", s.rope_scale);
        if (s.rope_trained > 0)
            file.set(arch + "rope.scaling.original_context_length", s.rope_trained);
    }
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

// A piece of a tensor that one thread makes. Its random numbers follow from its place alone, so
// that the file does not depend on how many threads there are.
struct Piece {
    size_t tensor;
    int64_t first, bytes;  // within the tensor
};

std::mt19937_64 random_of(uint64_t seed, size_t tensor, int64_t piece) {
    std::seed_seq words{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32),
                        static_cast<uint32_t>(tensor), static_cast<uint32_t>(piece)};
    return std::mt19937_64(words);
}

// Large matrices in pieces of whole blocks; vectors whole.
std::vector<Piece> pieces_of(const std::vector<ShapedTensor>& tensors, const GgufOutput& file) {
    std::vector<Piece> pieces;
    for (size_t i = 0; i < tensors.size(); ++i) {
        const GgufOutput::Tensor& placed = file.tensors()[i];
        int64_t most = placed.bytes;
        if (tensors[i].quantised) {
            const int64_t block = find_quant(placed.ggml_type)->block_bytes;
            most = std::min(most, kPieceBytes / block * block);
        }
        for (int64_t at = 0; at < placed.bytes; at += most)
            pieces.push_back({i, at, std::min(most, placed.bytes - at)});
    }
    return pieces;
}

// Draws runs of blocks from a pool. Rows differ, as each starts anywhere in it.
std::vector<uint8_t> drawn_blocks(const QuantFormat& format, int64_t bytes, double rms,
                                  std::mt19937_64& random) {
    const int64_t pool = std::min(kPoolBytes, bytes + format.block_bytes) / format.block_bytes;
    const std::vector<uint8_t> blocks = random_blocks(format, pool, rms, random);
    std::vector<uint8_t> drawn(static_cast<size_t>(bytes));
    for (int64_t at = 0; at < bytes;) {
        const auto from = static_cast<int64_t>(random() % static_cast<uint64_t>(pool));
        const int64_t run =
            std::min({bytes - at, kRunBytes / format.block_bytes * format.block_bytes,
                      (pool - from) * format.block_bytes});
        std::memcpy(drawn.data() + at, blocks.data() + from * format.block_bytes,
                    static_cast<size_t>(run));
        at += run;
    }
    return drawn;
}

std::vector<uint8_t> content_of(const Piece& piece, const ModelShape& shape,
                                const ShapedTensor& tensor, const GgufOutput::Tensor& placed,
                                uint64_t seed) {
    std::mt19937_64 random = random_of(seed, piece.tensor, piece.first / kPieceBytes);
    if (tensor.quantised)
        return drawn_blocks(*find_quant(placed.ggml_type), piece.bytes,
                            1.0 / std::sqrt(static_cast<double>(tensor.dims[0])), random);
    const auto values = float_values(shape, tensor, placed.bytes / 4, random);
    std::vector<uint8_t> bytes(static_cast<size_t>(piece.bytes));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

// A file that is whole or not there. Its owner writes from front to back.
class WholeFile {
  public:
    explicit WholeFile(const std::filesystem::path& path)
        : path_(path), temporary_(path.string() + ".part") {
        // What is there and no regular file, such as a device, is never replaced.
        struct stat info;
        check(stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode));
        file_.open(temporary_, std::ios::binary);
    }
    ~WholeFile() {
        std::error_code none;
        if (!finished_) std::filesystem::remove(temporary_, none);
    }
    WholeFile(const WholeFile&) = delete;
    WholeFile& operator=(const WholeFile&) = delete;

    void write(std::span<const uint8_t> bytes) {
        file_.write(reinterpret_cast<const char*>(bytes.data()),
                    static_cast<std::streamsize>(bytes.size()));
        check(!file_.fail());
    }
    void finish() {
        file_.close();
        check(!file_.fail());
        std::error_code error;
        std::filesystem::rename(temporary_, path_, error);
        check(!error);
        finished_ = true;
    }

  private:
    void check(bool good) const {
        if (good) return;
        throw std::runtime_error(
            fmt::format("{}: cannot be written; name a folder that may be written to and has room",
                        path_.string()));
    }

    std::filesystem::path path_, temporary_;
    std::ofstream file_;
    bool finished_ = false;
};

}  // namespace

int64_t write_synthetic(const ModelShape& shape, const SyntheticOptions& options,
                        const std::function<void(std::span<const uint8_t>)>& write) {
    GgufOutput file;
    set_metadata(file, shape, options.quant);
    const std::vector<ShapedTensor> tensors = tensors_of(shape);
    for (const ShapedTensor& tensor : tensors)
        file.add(tensor.name, mixed_type(options.quant, shape, tensor), tensor.dims);

    const std::string header = file.header();
    write({reinterpret_cast<const uint8_t*>(header.data()), header.size()});
    int64_t at = 0;  // behind the header
    const auto fill_up_to = [&](int64_t end) {
        write(std::vector<uint8_t>(static_cast<size_t>(end - at)));
        at = end;
    };
    const std::vector<Piece> pieces =
        options.header_only ? std::vector<Piece>() : pieces_of(tensors, file);
    std::exception_ptr failure;  // written and read in the ordered part alone
    std::atomic<bool> failed = false;
#pragma omp parallel for ordered schedule(dynamic, 1)
    for (size_t p = 0; p < pieces.size(); ++p) {
        const Piece& piece = pieces[p];
        const GgufOutput::Tensor& placed = file.tensors()[piece.tensor];
        std::vector<uint8_t> bytes;
        std::exception_ptr without;
        try {
            if (!failed)
                bytes = content_of(piece, shape, tensors[piece.tensor], placed, options.seed);
        } catch (...) {  // std::bad_alloc
            without = std::current_exception();
        }
#pragma omp ordered
        try {
            if (without != nullptr) std::rethrow_exception(without);
            if (!failed) {
                fill_up_to(placed.offset + piece.first);
                write(bytes);
                at += piece.bytes;
                if (options.progress) options.progress(at, file.data_bytes());
            }
        } catch (...) {
            if (failure == nullptr) failure = std::current_exception();
            failed = true;
        }
    }
    if (failure != nullptr) std::rethrow_exception(failure);
    if (!options.header_only) fill_up_to(file.data_bytes());
    return static_cast<int64_t>(header.size()) + at;
}

void write_synthetic(const ModelShape& shape, const SyntheticOptions& options,
                     const std::filesystem::path& path) {
    WholeFile file(path);
    write_synthetic(shape, options, [&](std::span<const uint8_t> bytes) { file.write(bytes); });
    file.finish();
}

}  // namespace hetune
