#include "runtime/load/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "cache/model_identity.h"
#include "kernel_templates/quant/registry.h"
#include "runtime/compile/first_exception.h"
#include "runtime/load/bad_numbers.h"

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
    FirstException failure;
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t i = 0; i < row_tiles; ++i)
        failure.guard([&] {
            check_weights(file, tensor, i * 32, std::min(i * 32 + 32, tensor.rows()));
            pack_rows(format, tensor, i, i + 1, tiles + i * tile_bytes);
        });
    failure.rethrow();
}

// A run of rows of one tensor: what one thread hashes or packs at a time.
struct Block {
    size_t tensor = 0;
    int64_t index = 0;  // among the blocks of its tensor
    int64_t first = 0, last = 0;
};
constexpr int64_t kBlockBytes = 1 << 20;  // stays in a core's cache until it is written

// Whole row tiles. Hashes of tensors depend on this division.
void add_blocks(std::vector<Block>& blocks, size_t index, const Tensor& tensor) {
    const int64_t tile_bytes =
        std::max<int64_t>(1, 32 * tensor.bytes() / std::max<int64_t>(1, tensor.rows()));
    const int64_t step = 32 * std::max<int64_t>(1, kBlockBytes / tile_bytes);
    for (int64_t at = 0, block = 0; at < tensor.rows(); at += step, ++block)
        blocks.push_back({index, block, at, std::min(at + step, tensor.rows())});
}

CacheKey hash_block(const Tensor& tensor, const Block& block) {
    ContentHash hash;
    // Rows of a TensorSlice lie together piece by piece.
    for (int64_t row = block.first, end; row < block.last; row = end) {
        end = block.last;
        if (tensor.piece_rows > 0)
            end = std::min(end, (row / tensor.piece_rows + 1) * tensor.piece_rows);
        hash.add({tensor.row(row), static_cast<size_t>((end - row) * tensor.row_bytes())});
    }
    return hash.value();
}

CacheKey hash_of_blocks(const std::vector<CacheKey>& blocks) {
    return content_hash(blocks.data(), blocks.size() * sizeof(CacheKey));
}

// Of each tensor a hash over all of its bytes: the hash of the hashes of its blocks. With all
// cores.
std::vector<CacheKey> whole_hashes(const std::vector<const Tensor*>& tensors) {
    std::vector<Block> blocks;
    std::vector<std::vector<CacheKey>> hashes(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
        const size_t before = blocks.size();
        add_blocks(blocks, i, *tensors[i]);
        hashes[i].resize(blocks.size() - before);
    }
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < blocks.size(); ++i) {
        const Block& block = blocks[i];
        hashes[block.tensor][static_cast<size_t>(block.index)] =
            hash_block(*tensors[block.tensor], block);
    }
    std::vector<CacheKey> whole;
    for (const auto& of_tensor : hashes) whole.push_back(hash_of_blocks(of_tensor));
    return whole;
}

// The same over 64 pages of each tensor, the first and the last among them.
std::vector<CacheKey> sampled_hashes(const std::vector<const Tensor*>& tensors) {
    constexpr size_t kPages = 64, kPage = 4096;
    std::vector<CacheKey> hashes(tensors.size());
#pragma omp parallel for schedule(dynamic, 1)
    for (size_t i = 0; i < tensors.size(); ++i) {
        const auto data = tensors[i]->data;
        ContentHash hash;
        if (data.size() <= kPages * kPage)
            hash.add(data);
        else
            for (size_t page = 0; page < kPages; ++page)
                hash.add(data.subspan((data.size() - kPage) * page / (kPages - 1), kPage));
        hashes[i] = hash.value();
    }
    return hashes;
}

std::vector<const Tensor*> tensors_of(const ModelFile& file) {
    std::vector<const Tensor*> tensors;
    for (const Tensor& tensor : file.tensors()) tensors.push_back(&tensor);
    return tensors;
}

CacheKey identity_from(const ModelFile& file, bool whole, const std::vector<CacheKey>& hashes) {
    std::vector<std::byte> header;
    for (const auto part : file.headers()) header.insert(header.end(), part.begin(), part.end());
    return model_identity(header, file.bytes(), whole, hashes);
}

// Names how the formats of a file are laid out in tiles: by what their packing makes of one tile of
// numbers. A change of one format renames the packs of the models that have it, and no others.
std::string layout_of(const ModelFile& file) {
    std::map<std::string, const QuantFormat*> formats;
    for (const Tensor& tensor : file.tensors())
        if (const QuantFormat* format = find_quant(tensor.ggml_type); format != nullptr)
            formats.emplace(format->name, format);
    ContentHash hash;
    for (const auto& [name, format] : formats) {
        std::vector<uint8_t> raw(static_cast<size_t>(32 * format->tile_elems / format->block_elems *
                                                     format->block_bytes));
        for (size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<uint8_t>((i * 40503) >> 7);
        std::vector<uint8_t> tile(static_cast<size_t>(format->tile_bytes));
        pack_tiles(*format, 32, format->tile_elems, raw.data(), tile.data(), 0, 1);
        hash.add(std::as_bytes(std::span(name)));
        hash.add(std::as_bytes(std::span(tile)));
    }
    return fmt::format("rows32-{:016x}", hash.value().high);
}

// All tensors that the writer lacks, with all cores; whoever packs the last block of a tensor
// hashes it, while the others go on. `expected`: of each tensor the hash that it has to have; may
// be empty. False when the disk fails, or when a tensor has another hash.
bool pack_all(const ModelFile& file, const std::vector<PlanBuffer>& buffers,
              const std::vector<CacheKey>& expected, TileWriter& writer,
              const Weights::Progress& progress) {
    std::vector<Block> blocks;
    std::vector<std::atomic<int64_t>> left(buffers.size());
    std::vector<std::vector<CacheKey>> hashes(buffers.size());
    size_t done = 0;
    for (size_t t = 0; t < buffers.size(); ++t) {
        if (writer.finished(t)) {
            ++done;
            continue;
        }
        const size_t before = blocks.size();
        add_blocks(blocks, t, file.tensor(buffers[t].tensor));
        left[t] = static_cast<int64_t>(blocks.size() - before);
        hashes[t].resize(blocks.size() - before);
    }
    if (progress) progress(done, buffers.size());
    std::atomic<bool> failed = false;
    std::mutex telling;
    FirstException error;
#pragma omp parallel
    {
        std::vector<uint8_t> packed;
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < blocks.size(); ++i)
            error.guard([&] {
                if (failed) return;
                const Block& block = blocks[i];
                const size_t t = block.tensor;
                const Tensor& tensor = file.tensor(buffers[t].tensor);
                const int64_t tiles = (tensor.rows() + 31) / 32;
                const int64_t tile_bytes = buffers[t].bytes / tiles;
                const int64_t first = block.first / 32, last = (block.last + 31) / 32;
                check_weights(file, tensor, block.first, block.last);
                packed.resize(static_cast<size_t>((last - first) * tile_bytes));
                pack_rows(*find_quant(tensor.ggml_type), tensor, first, last, packed.data());
                hashes[t][static_cast<size_t>(block.index)] = hash_block(tensor, block);
                if (!writer.write(t, static_cast<uint64_t>(first * tile_bytes),
                                  std::as_bytes(std::span(packed))))
                    failed = true;
                if (--left[t] > 0 || failed) return;
                const CacheKey source = hash_of_blocks(hashes[t]);
                if (!expected.empty() && source != expected[t]) {
                    failed = true;
                    return;
                }
                writer.finish_tensor(t, source);
                const std::lock_guard lock(telling);
                if (progress) progress(++done, buffers.size());
            });
    }
    error.rethrow();
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
        if (buffer.role == BufferRole::kRaw) {
            const Tensor& tensor = file_.tensor(buffer.tensor);
            check_weights(file_, tensor, 0, tensor.rows());
        }
        const auto data =
            buffer.role == BufferRole::kTurns ? bytes_of(table) : file_.tensor(buffer.tensor).data;
        auto made = device_.allocate(data.size());
        device_.upload(*made, 0, data);
        buffers_[buffer.name] = std::move(made);
    }
    if (!tiles.empty()) load_tiles(tiles, progress);
}

bool Weights::upload_stored(const std::vector<PlanBuffer>& buffers) {
    while (const auto found = stored_->find()) {
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
    if (store_ != nullptr && !stored_) stored_.emplace(file_, *store_);
    const bool stored = store_ != nullptr && own_memory && upload_stored(wanted);
    std::vector<PlanBuffer> buffers;
    for (const PlanBuffer& buffer : wanted)
        if (find(buffer.name) == nullptr) buffers.push_back(buffer);
    if (buffers.empty()) return;
    if (store_ != nullptr && !stored)
        if (auto made = stored_->find_or_make(buffers, progress)) {
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

CacheKey identify_model(const ModelFile& file, bool whole) {
    const auto tensors = tensors_of(file);
    return identity_from(file, whole, whole ? whole_hashes(tensors) : sampled_hashes(tensors));
}

bool made_from(const TilePack& pack, const ModelFile& file) {
    std::vector<const Tensor*> tensors;
    std::vector<CacheKey> sources;
    for (const TileEntry& entry : pack.entries()) {
        const Tensor* tensor = file.find_tensor(entry.name);
        if (tensor == nullptr) return false;
        tensors.push_back(tensor);
        sources.push_back(entry.source);
    }
    return whole_hashes(tensors) == sources;
}

ModelTiles::ModelTiles(const ModelFile& file, TileStore& store)
    : file_(file), store_(store), layout_(layout_of(file)) {
    if (file.bytes() <= store.hashed_model_bytes()) {
        const auto hashes = whole_hashes(tensors_of(file));
        for (size_t i = 0; i < hashes.size(); ++i) hashes_[file.tensors()[i].name] = hashes[i];
        model_ = identity_from(file, true, hashes);
    } else if (const auto known = store.known_model(settled_stat(file.parts(), file.statuses()))) {
        model_ = *known;
    } else {
        model_ = identify_model(file, false);
        sampled_ = true;
    }
}

void ModelTiles::compare(const TilePack& pack) {
    if (!sampled_ || !store_.can_remember()) return;
    if (!made_from(pack, file_)) model_ = identify_model(file_, true);
    remember();
}

ModelTiles::Comparison ModelTiles::compare_whole(bool mend) {
    using State = Comparison::State;
    const auto pack = store_.open(model_, layout_);
    if (!pack) return {};
    const std::string path = pack->path().string();
    if (!is_good(*pack)) {
        if (mend) store_.discard(*pack);
        return {State::kDamaged, path};
    }
    if (made_from(*pack, file_)) return {State::kSame, path};
    if (mend) {
        model_ = identify_model(file_, true);
        remember();
    }
    return {State::kOther, path};
}

CacheKey ModelTiles::identity() const { return sampled_ ? identify_model(file_, true) : model_; }

void ModelTiles::remember() {
    store_.remember_model(settled_stat(file_.parts(), file_.statuses()), model_);
    sampled_ = false;
}

std::optional<StoredTiles> ModelTiles::find() {
    for (;;) {
        auto pack = store_.open(model_, layout_);
        if (!pack) pack = store_.wait(model_, layout_);
        if (!pack) return std::nullopt;
        const CacheKey model = model_;
        compare(*pack);
        if (model == model_) return StoredTiles{*std::move(pack), model_.hex(), layout_};
    }
}

std::optional<StoredTiles> ModelTiles::find_or_make(const std::vector<PlanBuffer>& buffers,
                                                    const Progress& progress) {
    std::vector<PlanBuffer> wanted;
    std::vector<TileWriter::Tensor> tensors;
    std::vector<CacheKey> expected;
    for (const PlanBuffer& buffer : buffers) {
        if (buffer.role != BufferRole::kTiles) continue;
        wanted.push_back(buffer);
        tensors.push_back({buffer.name, static_cast<uint64_t>(buffer.bytes)});
        if (hashes_.empty()) continue;
        const auto known = hashes_.find(buffer.tensor);  // a TensorSlice has no hash there
        expected.push_back(known != hashes_.end()
                               ? known->second
                               : whole_hashes({&file_.tensor(buffer.tensor)})[0]);
    }
    for (;;) {
        while (auto found = find()) {
            if (is_good(found->pack)) return found;
            store_.discard(found->pack);
        }
        auto [pack, writer] = store_.open_or_begin(model_, layout_, tensors);
        if (pack) continue;  // somebody else has just written it
        if (!writer) return std::nullopt;
        if (!pack_all(file_, wanted, expected, *writer, progress)) {
            if (!expected.empty()) check_unchanged();
            return std::nullopt;
        }
        if (!writer->commit()) return std::nullopt;
        if (sampled_) remember();
        auto stored = store_.open(model_, layout_);
        if (!stored) return std::nullopt;
        return StoredTiles{*std::move(stored), model_.hex(), layout_, true};
    }
}

void ModelTiles::check_unchanged() const {
    if (identify_model(file_, true) != model_)
        throw ModelError(
            fmt::format("{}: changes while it is read; start again when it is complete",
                        file_.path().string()));
}

}  // namespace hetune
