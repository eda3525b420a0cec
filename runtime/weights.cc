#include "runtime/weights.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "kernel_templates/quant/registry.h"

namespace hetune {
namespace {

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
    return std::as_bytes(std::span(values));
}

// [pairs][2]: the turns of a pair as the sum of two floats.
std::vector<float> turns_table(const LayerGraph& graph) {
    std::vector<float> table;
    for (const double turns : graph.rope_turns) {
        const auto high = static_cast<float>(turns);
        table.push_back(high);
        table.push_back(static_cast<float>(turns - static_cast<double>(high)));
    }
    table.resize(std::max<size_t>(table.size(), 2));
    return table;
}

}  // namespace

Buffer* Weights::find(const std::string& name) const {
    const auto found = buffers_.find(name);
    return found == buffers_.end() ? nullptr : found->second.get();
}

void Weights::load(const Plan& plan, const Progress& progress) {
    std::vector<const PlanBuffer*> tiles;
    for (const PlanBuffer& buffer : plan.buffers) {
        if (find(buffer.name) != nullptr) continue;
        if (buffer.role == BufferRole::kTiles) tiles.push_back(&buffer);
        if (buffer.role == BufferRole::kRaw) {
            const auto data = file_.tensor(buffer.tensor).data;
            auto made = device_.allocate(data.size());
            device_.upload(*made, 0, data);
            buffers_[buffer.name] = std::move(made);
        }
        if (buffer.role == BufferRole::kTurns) {
            const std::vector<float> table = turns_table(graph_);
            auto made = device_.allocate(table.size() * sizeof(float));
            device_.upload(*made, 0, bytes_of(table));
            buffers_[buffer.name] = std::move(made);
        }
    }
    for (size_t i = 0; i < tiles.size(); ++i) {
        load_tiles(*tiles[i]);
        if (progress) progress(i + 1, tiles.size());
    }
}

void Weights::load_tiles(const PlanBuffer& buffer) {
    const auto start = std::chrono::steady_clock::now();
    const Tensor& tensor = file_.tensor(buffer.tensor);
    const QuantFormat& format = *find_quant(tensor.ggml_type);
    std::vector<std::byte>& tiles = packed_[buffer.name];
    tiles.resize(static_cast<size_t>(buffer.bytes));
    const int64_t row_tiles = (tensor.rows() + 31) / 32;
    const auto* raw = reinterpret_cast<const uint8_t*>(tensor.data.data());
    auto* to = reinterpret_cast<uint8_t*>(tiles.data());
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t i = 0; i < row_tiles; ++i)
        pack_tiles(format, tensor.rows(), tensor.cols(), raw, to, i, i + 1);
    repack_seconds_ +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    buffers_[buffer.name] = device_.adopt(tiles);
    if (!device_.info().unified_memory) packed_.erase(buffer.name);
}

}  // namespace hetune
