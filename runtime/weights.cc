#include "runtime/weights.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "cache/model_identity.h"
#include "kernel_templates/quant/registry.h"

namespace hetune {
namespace {

// Rows of 32 lanes, kernel_templates/quant/tile.h; a change of any format's tile changes this name.
constexpr const char* kTileLayout = "rows32-1";

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

// Row tiles [first, last) of a tensor. Rows of one tile lie together in the file: pieces of a
// TensorSlice are whole tiles (lower/moe.cc asks for a multiple of 32 rows).
void pack_rows(const QuantFormat& format, const Tensor& tensor, int64_t first, int64_t last,
               uint8_t* tiles) {
    const int64_t tile_bytes = tiles_bytes(format, 32, tensor.cols());
    for (int64_t tile = first; tile < last; ++tile)
        pack_tiles(format, tensor.rows() - tile * 32, tensor.cols(),
                   reinterpret_cast<const uint8_t*>(tensor.row(tile * 32)),
                   tiles + (tile - first) * tile_bytes, 0, 1);
}

void pack(const ModelFile& file, const PlanBuffer& buffer, std::span<std::byte> to) {
    const Tensor& tensor = file.tensor(buffer.tensor);
    const QuantFormat& format = *find_quant(tensor.ggml_type);
    const int64_t row_tiles = (tensor.rows() + 31) / 32;
    const int64_t tile_bytes = tiles_bytes(format, 32, tensor.cols());
    auto* tiles = reinterpret_cast<uint8_t*>(to.data());
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t i = 0; i < row_tiles; ++i)
        pack_rows(format, tensor, i, i + 1, tiles + i * tile_bytes);
}

// A run of row tiles of one tensor: what one thread packs at a time.
struct Chunk {
    size_t tensor = 0;
    int64_t first = 0, last = 0;
};
constexpr int64_t kChunkBytes = 1 << 20;  // stays in a core's cache until it is written

// All tensors that the writer lacks, with all cores; whoever packs the last chunk of a tensor
// hashes it, while the others go on. False when the disk fails.
bool pack_all(const ModelFile& file, const std::vector<PlanBuffer>& buffers, TileWriter& writer,
              const Weights::Progress& progress) {
    std::vector<Chunk> chunks;
    std::vector<std::atomic<int64_t>> left(buffers.size());
    size_t done = 0;
    for (size_t t = 0; t < buffers.size(); ++t) {
        if (writer.finished(t)) {
            ++done;
            continue;
        }
        const int64_t tiles = (file.tensor(buffers[t].tensor).rows() + 31) / 32;
        const int64_t step = std::clamp<int64_t>(kChunkBytes * tiles / buffers[t].bytes, 1, tiles);
        for (int64_t at = 0; at < tiles; at += step, ++left[t])
            chunks.push_back({t, at, std::min(at + step, tiles)});
    }
    if (progress) progress(done, buffers.size());
    std::atomic<bool> failed = false;
#pragma omp parallel
    {
        std::vector<uint8_t> packed;
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < chunks.size(); ++i) {
            if (failed) continue;
            const auto [t, first, last] = chunks[i];
            const Tensor& tensor = file.tensor(buffers[t].tensor);
            const int64_t tiles = (tensor.rows() + 31) / 32;
            const int64_t tile_bytes = buffers[t].bytes / tiles;
            packed.resize(static_cast<size_t>((last - first) * tile_bytes));
            pack_rows(*find_quant(tensor.ggml_type), tensor, first, last, packed.data());
            if (!writer.write(t, static_cast<uint64_t>(first * tile_bytes),
                              std::as_bytes(std::span(packed))))
                failed = true;
            if (--left[t] > 0 || failed) continue;
            writer.finish_tensor(t);
#pragma omp critical
            if (progress) progress(++done, buffers.size());
        }
    }
    return !failed;
}

// Whether every tensor still has its hash: with all cores, as it is read for the first time here.
bool is_good(const TilePack& pack) {
    bool good = true;
#pragma omp parallel for schedule(dynamic, 1) reduction(&& : good)
    for (size_t i = 0; i < pack.entries().size(); ++i)
        good = good && pack.verify(pack.entries()[i].name);
    return good;
}

CacheKey identity_of(const ModelFile& file, TileStore& store) {
    if (const auto known = store.known_model(file.parts())) return *known;
    const CacheKey identity = identify_model(file);
    store.remember_model(file.parts(), identity);
    return identity;
}

}  // namespace

Buffer* Weights::find(const std::string& name) const {
    const auto found = buffers_.find(name);
    return found == buffers_.end() ? nullptr : found->second.get();
}

void Weights::load(const std::vector<PlanBuffer>& buffers, const Progress& progress) {
    std::vector<PlanBuffer> tiles;
    for (const PlanBuffer& buffer : buffers) {
        if (find(buffer.name) != nullptr) continue;
        if (buffer.role == BufferRole::kTiles) tiles.push_back(buffer);
        if (buffer.role != BufferRole::kRaw && buffer.role != BufferRole::kTurns) continue;
        const std::vector<float> table =
            buffer.role == BufferRole::kTurns ? turns_table(graph_) : std::vector<float>();
        const auto data =
            buffer.role == BufferRole::kTurns ? bytes_of(table) : file_.tensor(buffer.tensor).data;
        auto made = device_.allocate(data.size());
        device_.upload(*made, 0, data);
        buffers_[buffer.name] = std::move(made);
    }
    if (!tiles.empty()) load_tiles(tiles, progress);
}

bool Weights::upload_stored(const std::vector<PlanBuffer>& buffers) {
    while (const auto found = find_tiles(file_, *store_)) {
        std::vector<TileReader> readers;
        std::vector<MadeUpload> uploads;
        std::map<std::string, std::unique_ptr<Buffer>> made;
        readers.reserve(buffers.size());
        for (const PlanBuffer& buffer : buffers) {
            const TileEntry* entry = found->pack.find(buffer.name);
            if (entry == nullptr || entry->bytes != static_cast<uint64_t>(buffer.bytes)) continue;
            TileReader& reader = readers.emplace_back(found->pack, *entry);
            Buffer& to = *(made[buffer.name] = device_.allocate(entry->bytes));
            uploads.push_back({&to, [&reader](std::span<std::byte> piece) { reader.read(piece); }});
        }
        device_.upload_all(uploads);
        if (std::ranges::all_of(readers, &TileReader::good)) {
            buffers_.merge(made);
            return true;
        }
        device_.synchronize();  // before their memory goes
        store_->discard(found->pack);
    }
    return false;
}

void Weights::load_tiles(const std::vector<PlanBuffer>& wanted, const Progress& progress) {
    const bool own_memory = !device_.info().unified_memory;
    const bool stored = store_ != nullptr && own_memory && upload_stored(wanted);
    std::vector<PlanBuffer> buffers;
    for (const PlanBuffer& buffer : wanted)
        if (find(buffer.name) == nullptr) buffers.push_back(buffer);
    if (buffers.empty()) return;
    if (store_ != nullptr && !stored)
        if (auto made = store_tiles(file_, buffers, *store_, progress)) {
            repacked_ = made->repacked;
            tile_pack_ = std::move(made->pack);
        }
    for (size_t i = 0; i < buffers.size(); ++i) {
        const PlanBuffer& buffer = buffers[i];
        std::span<const std::byte> tiles;
        if (tile_pack_) tiles = tile_pack_->tensor(buffer.name);
        if (tiles.size() != static_cast<size_t>(buffer.bytes)) {
            auto& packed = packed_[buffer.name];
            packed.resize(static_cast<size_t>(buffer.bytes));
            pack(file_, buffer, packed);
            tiles = packed;
            repacked_ = true;
            if (progress) progress(i + 1, buffers.size());
        }
        buffers_[buffer.name] = device_.adopt(tiles);
        if (own_memory) packed_.erase(buffer.name);
    }
    if (own_memory) tile_pack_.reset();
}

std::optional<StoredTiles> find_tiles(const ModelFile& file, TileStore& store) {
    const CacheKey model = identity_of(file, store);
    auto pack = store.open(model, kTileLayout);
    if (!pack) pack = store.wait(model, kTileLayout);
    if (!pack) return std::nullopt;
    return StoredTiles{*std::move(pack), model.hex(), kTileLayout};
}

std::optional<StoredTiles> store_tiles(const ModelFile& file,
                                       const std::vector<PlanBuffer>& buffers, TileStore& store,
                                       const Weights::Progress& progress) {
    while (auto found = find_tiles(file, store)) {
        if (is_good(found->pack)) return found;
        store.discard(found->pack);
    }
    std::vector<PlanBuffer> wanted;
    std::vector<TileWriter::Tensor> tensors;
    for (const PlanBuffer& buffer : buffers)
        if (buffer.role == BufferRole::kTiles) {
            wanted.push_back(buffer);
            tensors.push_back({buffer.name, static_cast<uint64_t>(buffer.bytes)});
        }
    const CacheKey model = identity_of(file, store);
    auto writer = store.begin(model, kTileLayout, tensors);
    if (!writer) return std::nullopt;
    if (!pack_all(file, wanted, *writer, progress) || !writer->commit()) return std::nullopt;
    auto stored = store.open(model, kTileLayout);
    if (!stored) return std::nullopt;
    return StoredTiles{*std::move(stored), model.hex(), kTileLayout, true};
}

CacheKey identify_model(const ModelFile& file) {
    constexpr size_t kSample = 4096;  // of each tensor: its first page
    std::vector<std::byte> header;
    for (const auto part : file.headers()) header.insert(header.end(), part.begin(), part.end());
    std::vector<std::span<const std::byte>> samples;
    for (const Tensor& tensor : file.tensors())
        samples.push_back(tensor.data.first(std::min(tensor.data.size(), kSample)));
    return model_identity(header, file.bytes(), samples);
}

}  // namespace hetune
