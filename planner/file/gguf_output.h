// What goes into a GGUF v3 file: metadata, then tensors whose bytes the caller writes behind the
// header. Format: the GGUF specification of the ggml project (docs/gguf.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/file/model_file.h"

namespace hetune {

class GgufOutput {
  public:
    static constexpr int64_t kAlign = 32;

    struct Tensor {
        std::string name;
        std::vector<int64_t> dims;  // ggml order
        uint32_t ggml_type = 0;
        int64_t bytes = 0;
        int64_t offset = 0;  // behind the header; a multiple of kAlign
    };

    // Metadata, in the order of the calls. A key is set once.
    void set(const std::string& key, const std::string& value);
    void set(const std::string& key, const char* value) { set(key, std::string(value)); }
    void set(const std::string& key, int64_t value);  // written as uint32
    void set(const std::string& key, double value);   // as float32
    void set(const std::string& key, bool value);
    void set(const std::string& key, const std::vector<std::string>& values);
    void set(const std::string& key, const std::vector<int32_t>& values);
    // As it was read: integers with 64 bits, floats as float64. Elements of an array are of one
    // type.
    void set(const std::string& key, const MetaValue& value);

    // `dims` in ggml order, whole blocks in the first.
    void add(const std::string& name, uint32_t ggml_type, const std::vector<int64_t>& dims);

    const std::vector<Tensor>& tensors() const { return tensors_; }
    // Of all tensors with the padding between and behind them.
    int64_t data_bytes() const { return data_bytes_; }
    // Everything up to the first tensor.
    std::string header() const;

  private:
    void entry(const std::string& key, uint32_t type);

    std::string metadata_;
    uint64_t keys_ = 0;
    std::vector<Tensor> tensors_;
    int64_t data_bytes_ = 0;
};

}  // namespace hetune
