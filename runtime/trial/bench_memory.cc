#include "runtime/trial/bench_memory.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "cache/key.h"
#include "kernel_templates/quant/random_blocks.h"
#include "kernel_templates/quant/registry.h"
#include "planner/plan/device_sizes.h"

namespace hetune {
namespace {

// Another stream for each name, and the same one in every run.
std::mt19937_64 random_for(uint64_t seed, const std::string& name) {
    return std::mt19937_64(seed ^ content_hash(name.data(), name.size()).low);
}

template <class T>
std::unique_ptr<Buffer> uploaded(Device& device, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    auto buffer = device.allocate(std::max<size_t>(bytes.size(), 1));
    device.upload(*buffer, 0, bytes);
    return buffer;
}

}  // namespace

bool is_weight(BufferRole role) {
    return role == BufferRole::kTiles || role == BufferRole::kRaw || role == BufferRole::kTurns;
}

BenchMemory::BenchMemory(Device& device, const ModelFile& file, const LayerGraph& graph,
                         TileStore* tiles, Options options)
    : device_(device),
      file_(file),
      options_(std::move(options)),
      weights_(device, file, graph, tiles) {}

int64_t BenchMemory::context_of(int sequences) const {
    return sequences > 1 && options_.batch_context > 0 ? options_.batch_context : options_.context;
}

int64_t BenchMemory::pages_of(int sequences) const {
    return sequences * ((context_of(sequences) + kPageTokens - 1) / kPageTokens);
}

SlotStrides BenchMemory::strides() const {
    return {pages_of(sequences_) / sequences_, state_stride_ / static_cast<int64_t>(sizeof(float))};
}

int64_t BenchMemory::state_bytes(const PlanBuffer& buffer) const {
    return state_stride_ * (options_.sequences - 1) + buffer.bytes;
}

void BenchMemory::hold(int sequences) {
    sequences_ = sequences;
    upload_pages();
}

void BenchMemory::upload_pages() {
    if (pages_ == nullptr) return;
    std::vector<int32_t> table(static_cast<size_t>(pages_of(sequences_)));
    std::iota(table.begin(), table.end(), 0);
    device_.upload(*pages_, 0, std::as_bytes(std::span(table)));
}

void BenchMemory::prepare(const Plan& plan) {
    std::vector<PlanBuffer> from_file;
    const int64_t pages = std::max(pages_of(1), pages_of(options_.sequences));
    // A model's plans have the same states; the stride is that of the largest.
    if (state_stride_ == 0)
        for (const PlanBuffer& buffer : plan.buffers)
            if (buffer.role == BufferRole::kState)
                state_stride_ = std::max(state_stride_, (buffer.bytes + 255) / 256 * 256);
    for (const PlanBuffer& buffer : plan.buffers) {
        if (find(buffer) != nullptr) continue;
        const int64_t bytes = buffer.bytes + buffer.bytes_per_context * pages * kPageTokens;
        auto& made = made_[buffer.name];
        if (is_weight(buffer.role) && (!options_.synthetic || buffer.role == BufferRole::kTurns)) {
            from_file.push_back(buffer);
        } else if (buffer.role == BufferRole::kTiles) {
            made = random_tiles(buffer);
        } else if (buffer.role == BufferRole::kRaw) {
            made = random_raw(buffer);
        } else if (buffer.role == BufferRole::kKv) {
            made = random_kv(bytes, plan.options.kv);
        } else if (buffer.role == BufferRole::kPages) {
            made = device_.allocate(static_cast<size_t>(pages) * sizeof(int32_t));
            pages_ = made.get();
            upload_pages();
        } else if (buffer.role == BufferRole::kState) {
            made = device_.allocate(static_cast<size_t>(std::max<int64_t>(state_bytes(buffer), 1)));
            device_.fill(*made, 0, made->bytes(), 0);
            states_[buffer.name] = made.get();
        }
        if (made == nullptr) made_.erase(buffer.name);
    }
    weights_.load(from_file, [this](size_t, size_t) {
        if (options_.over && options_.over()) throw LoadCancelled("repacking weights: given up");
    });
}

Buffer* BenchMemory::find(const PlanBuffer& buffer) const {
    if (const auto at = made_.find(buffer.name); at != made_.end()) return at->second.get();
    return weights_.find(buffer.name);
}

void BenchMemory::reset_states() {
    for (const auto& [name, state] : states_) device_.fill(*state, 0, state->bytes(), 0);
}

// One tile of 32 random rows, again and again: what a kernel reads costs the same wherever it is.
std::unique_ptr<Buffer> BenchMemory::random_tiles(const PlanBuffer& buffer) {
    const Tensor& tensor = file_.tensor(buffer.tensor);
    const QuantFormat& format = *find_quant(tensor.ggml_type);
    auto random = random_for(options_.seed, buffer.name);
    const int64_t cols = tensor.cols();
    const auto rows = random_blocks(format, 32 * cols / format.block_elems,
                                    1.0 / std::sqrt(static_cast<double>(cols)), random);
    std::vector<uint8_t> tile(static_cast<size_t>(tiles_bytes(format, 32, cols)));
    pack_tiles(format, 32, cols, rows.data(), tile.data(), 0, 1);
    auto made = device_.allocate(static_cast<size_t>(std::max<int64_t>(buffer.bytes, 1)));
    for (size_t at = 0; at < static_cast<size_t>(buffer.bytes); at += tile.size())
        device_.upload(*made, at, std::as_bytes(std::span(tile)));
    return made;
}

// Near 1, as the weights of norms are; the decays of recurrent layers are negative.
std::unique_ptr<Buffer> BenchMemory::random_raw(const PlanBuffer& buffer) {
    auto random = random_for(options_.seed, buffer.name);
    std::normal_distribution<float> normal(buffer.name.ends_with("ssm_a") ? -1.0f : 1.0f, 0.1f);
    std::vector<float> values(static_cast<size_t>(buffer.bytes / 4));
    for (float& value : values) value = normal(random);
    return uploaded(device_, values);
}

std::unique_ptr<Buffer> BenchMemory::random_kv(int64_t bytes, KvType type) {
    auto random = random_for(options_.seed, "kv");
    if (type == KvType::kF32) {
        std::normal_distribution<float> normal;
        std::vector<float> values(static_cast<size_t>(bytes / 4));
        for (float& value : values) value = normal(random);
        return uploaded(device_, values);
    }
    // Halves and bfloats of 0.5 to 2 and both signs: exponent and sign bits fixed, the rest random.
    const bool half = type == KvType::kF16;
    std::vector<uint16_t> values(static_cast<size_t>(bytes / 2));
    for (uint16_t& value : values) {
        const auto bits = static_cast<uint16_t>(random());
        value = static_cast<uint16_t>((bits & 0x8000) |
                                      (half ? 0x3800 + (bits & 0x7ff) : 0x3f00 + (bits & 0xff)));
    }
    return uploaded(device_, values);
}

}  // namespace hetune
