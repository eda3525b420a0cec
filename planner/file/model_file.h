// A model file, memory-mapped and validated: metadata, and tensors as spans of the mapping.
// GGUF v2 and v3; split files (-00001-of-0000N.gguf) are opened through any one of their parts.
//
// Nothing of the file is believed before it is checked: after construction every tensor lies
// inside its file, every row is a whole number of blocks, and no product has overflowed.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "planner/file/errors.h"

namespace hetune {

// One metadata value. Integers of every width arrive as int64_t / uint64_t, floats as double.
struct MetaValue;
using MetaArray = std::vector<MetaValue>;
struct MetaValue {
    std::variant<uint64_t, int64_t, double, bool, std::string, MetaArray> value;

    // As a number, of whatever type it is in the file; empty for what is none, a bool among them.
    // A float counts as an integer where it is whole.
    std::optional<int64_t> integer() const;
    std::optional<double> number() const;
};

// Weights of one name: [rows, cols] row-major, with `cols` the contiguous (ggml first) dimension.
// Tensors of more dimensions keep them in `dims`, ggml order (dims[0] = cols).
struct Tensor {
    std::string name;
    uint32_t ggml_type = 0;           // see kernel_templates/quant
    std::vector<int64_t> dims;        // ggml order: dims[0] is contiguous
    std::span<const std::byte> data;  // owned by the ModelFile
    uint64_t offset = 0;              // of the data within its file, one part of a split one
    // A TensorSlice of several pieces: `piece_rows` rows lie together, and pieces begin
    // `piece_stride` bytes apart. 0: all rows lie together.
    int64_t piece_rows = 0, piece_stride = 0;
    int64_t cols() const { return dims.empty() ? 1 : dims[0]; }
    int64_t rows() const;  // the product of dims[1..]
    int64_t row_bytes() const;
    int64_t bytes() const;                      // of all rows; also where `data` is empty
    const std::byte* row(int64_t index) const;  // of one that has data
    const char* type_name() const;              // "Q4_K"
};

// Rows of a tensor in which a file keeps several matrices: attn_qkv has those of q, k and v, and
// ffn_gate_up_exps has gate and up of each expert in turn. Of a vector, elements.
struct TensorSlice {
    std::string tensor;
    int64_t pieces = 1;  // of equal size, one behind the other; each gives `count` rows
    int64_t first = 0;   // within a piece
    int64_t count = 0;

    // "blk.0.attn_qkv.weight[64:32]", "blk.0.ffn_gate_up_exps.weight[8x64:64]". ModelFile takes it
    // as the name of a tensor, so that nothing else needs to know of slices.
    std::string name() const;
};

class ModelFile {
  public:
    // kHeaderOnly: a file cut off behind its header will do; tensors have shapes and no data.
    enum class Open { kWhole, kHeaderOnly };
    // Maps and validates; reads no weight. Throws ModelError.
    explicit ModelFile(const std::filesystem::path& path, Open mode = Open::kWhole);
    // kHeaderOnly, of a header in memory; `name` is what errors call it.
    ModelFile(const std::string& name, std::vector<std::byte> header);
    ~ModelFile();
    ModelFile(ModelFile&&) noexcept;
    ModelFile& operator=(ModelFile&&) noexcept;

    const std::filesystem::path& path() const;
    const std::vector<std::filesystem::path>& parts() const;  // one, unless the file is split
    const std::map<std::string, MetaValue>& metadata() const;
    const std::vector<Tensor>& tensors() const;  // in file order, parts in order
    uint64_t bytes() const;                      // of all parts
    std::vector<struct stat> statuses() const;   // of the parts, when they were opened
    // Of each part, what lies before the data of its first tensor.
    std::vector<std::span<const std::byte>> headers() const;
    uint32_t version() const;

    // Of a tensor or of a TensorSlice. nullptr when there is none, or the slice does not lie in it.
    // Any thread may call it.
    const Tensor* find_tensor(std::string_view name) const;
    // Throws ModelError naming the missing tensor.
    const Tensor& tensor(std::string_view name) const;

    // Typed metadata. The first form throws ModelError when the key is missing or of another kind,
    // the second returns the default when it is missing. Integer kinds convert where they fit.
    int64_t get_int(std::string_view key) const;
    int64_t get_int(std::string_view key, int64_t fallback) const;
    double get_float(std::string_view key) const;
    double get_float(std::string_view key, double fallback) const;
    bool get_bool(std::string_view key, bool fallback) const;
    std::string get_string(std::string_view key) const;
    std::string get_string(std::string_view key, std::string_view fallback) const;
    const MetaValue* find(std::string_view key) const;  // nullptr when it is missing
    // nullptr when the key is missing; throws ModelError when it is no array.
    const MetaArray* find_array(std::string_view key) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace hetune
