// The file of one tile pack: repacked weights, each tensor at a multiple of 4096 bytes, so that a
// mapping can be handed to a device as it is.
//
//   64 bytes   head: magic, format version, tensor count, lengths, hash of the directory
//   directory  JSON: {"model", "layout", "tensors": [{"name", "offset", "bytes", "hash", "source"},
//              ...]}; hash: xxh3-128 of the tensor; source: of what it was made from
//   tensors    in the order of the directory, with zeros between them
//
// A pack names the model and the layout that it is for: under any other name it is damaged.
//
// While it is written it is called NAME.partial and holds, in the place of head and directory, a
// journal: who writes, and which tensors are finished, with their hashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cache/key.h"

namespace hetune {

constexpr uint64_t kTileAlignment = 4096;

struct TileEntry {
    std::string name;
    uint64_t bytes = 0;
    uint64_t offset = 0;
    CacheKey hash;    // of the content
    CacheKey source;  // of the tensor in the model file: TensorHash

    bool operator==(const TileEntry&) const = default;
};

// What head and directory say.
struct TileHead {
    CacheKey model;
    std::string layout;
    std::vector<TileEntry> entries;
};

// Whether a layout can be a file name: letters, digits, "-", "_", "."; no leading dot.
bool is_layout_name(std::string_view name);

// Gives every entry its offset; returns the size of the file.
uint64_t lay_out_tiles(TileHead& head);

// Head and directory: everything in front of the first tensor but the padding.
std::vector<std::byte> encode_tile_head(const TileHead& head, uint64_t file_bytes);

// Empty when anything of head and directory is wrong, or an entry does not lie inside the file.
std::optional<TileHead> decode_tile_head(std::span<const std::byte> file);

// The version of the format that a file names; 0: the file is no tile pack. This hetune reads
// kTilesVersion. 1 named neither model nor layout, nor from which bytes a tensor was made.
uint32_t pack_version(std::span<const std::byte> file);
constexpr uint32_t kTilesVersion = 2;

// The journal at the start of a partial file.
class TileJournal {
  public:
    // `file` is writable, of the size that lay_out_tiles gave, and outlives the journal.
    TileJournal(std::span<std::byte> file, const TileHead& head);

    // The hashes of a finished tensor.
    struct Finished {
        CacheKey hash, source;
        bool operator==(const Finished&) const = default;
    };

    // Whether `file` is a partial pack of these very entries.
    bool matches() const;
    // Starts anew, with no tensor finished.
    void reset();
    // Names this process as the writer.
    void take_over();
    // From any thread, one thread per tensor.
    void set_finished(size_t tensor, const Finished& hashes);
    std::optional<Finished> finished(size_t tensor) const;

    // The process that writes a partial file; 0: it does not say.
    static int64_t writer_of(std::span<const std::byte> file);
    static constexpr size_t kHeadBytes = 32;  // enough of a file for writer_of()

  private:
    std::span<std::byte> file_;
    size_t tensors_;
    CacheKey plan_;  // hash of names, sizes and offsets
};

}  // namespace hetune
