// Writes small GGUF files: metadata, tensors filled with zeros, and whatever is broken on purpose.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "planner/file/ggml_type.h"

namespace hetune {

class GgufWriter {
  public:
    enum Type : uint32_t {
        kU32 = 4,
        kI32 = 5,
        kF32 = 6,
        kBool = 7,
        kString = 8,
        kArray = 9,
        kU64 = 10
    };

    // The fields of the header, to be broken.
    std::string magic = "GGUF";
    uint32_t version = 3;
    std::optional<uint64_t> tensor_count, entry_count;  // other than those there are

    // A key that is set again changes its value.
    GgufWriter& set(const std::string& key, const std::string& value) {
        return set_raw(key, kString, string(value));
    }
    GgufWriter& set(const std::string& key, const char* value) {  // or it would be a bool
        return set(key, std::string(value));
    }
    GgufWriter& set(const std::string& key, uint32_t value) {
        return set_raw(key, kU32, number(value));
    }
    GgufWriter& set(const std::string& key, int32_t value) {
        return set_raw(key, kI32, number(value));
    }
    GgufWriter& set(const std::string& key, float value) {
        return set_raw(key, kF32, number(value));
    }
    GgufWriter& set(const std::string& key, bool value) {
        return set_raw(key, kBool, number(static_cast<uint8_t>(value)));
    }
    GgufWriter& set(const std::string& key, const std::vector<std::string>& values) {
        std::string body = array_head(kString, values.size());
        for (const std::string& value : values) body += string(value);
        return set_raw(key, kArray, body);
    }
    GgufWriter& set(const std::string& key, const std::vector<float>& values) {
        return set_raw(key, kArray, numbers(kF32, values));
    }
    GgufWriter& set(const std::string& key, const std::vector<int32_t>& values) {
        return set_raw(key, kArray, numbers(kI32, values));
    }
    // `body` as it stands in the file, behind the type.
    GgufWriter& set_raw(const std::string& key, uint32_t type, const std::string& body) {
        const auto at = std::ranges::find(entries_, key, &Entry::key);
        if (at == entries_.end())
            entries_.push_back({key, type, body});
        else
            *at = {key, type, body};
        return *this;
    }
    GgufWriter& remove(const std::string& key) {
        std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
        return *this;
    }
    GgufWriter& repeat(const std::string& key) {
        entries_.push_back(*std::ranges::find(entries_, key, &Entry::key));
        return *this;
    }

    struct TensorEntry {
        std::string name;
        std::vector<uint64_t> dims;           // ggml order
        uint32_t type = 0;                    // F32
        std::optional<uint64_t> offset = {};  // other than the next aligned one
    };
    // A tensor of a name that is there takes its place.
    GgufWriter& tensor(TensorEntry entry) {
        const auto at = std::ranges::find(tensors_, entry.name, &TensorEntry::name);
        if (at == tensors_.end())
            tensors_.push_back(std::move(entry));
        else
            *at = std::move(entry);
        return *this;
    }
    GgufWriter& remove_tensor(const std::string& name) {
        std::erase_if(tensors_, [&](const TensorEntry& entry) { return entry.name == name; });
        return *this;
    }
    GgufWriter& repeat_tensor(const std::string& name) {
        tensors_.push_back(*std::ranges::find(tensors_, name, &TensorEntry::name));
        return *this;
    }

    // Everything up to the data of the first tensor.
    std::string header() const { return layout().first; }
    std::string bytes() const {
        const auto [header, data_bytes] = layout();
        return header + std::string(data_bytes, '\0');
    }
    void write(const std::filesystem::path& path) const {
        std::ofstream(path, std::ios::binary) << bytes();
    }

    template <class T>
    static std::string number(T value) {
        return {reinterpret_cast<const char*>(&value), sizeof value};
    }
    static std::string string(const std::string& text) {
        return number(uint64_t{text.size()}) + text;
    }
    static std::string array_head(uint32_t type, uint64_t count) {
        return number(type) + number(count);
    }

  private:
    struct Entry {
        std::string key;
        uint32_t type = 0;
        std::string body;
    };
    static constexpr uint64_t kAlign = 32;
    static uint64_t aligned(uint64_t at) { return (at + kAlign - 1) / kAlign * kAlign; }

    template <class T>
    static std::string numbers(uint32_t type, const std::vector<T>& values) {
        std::string body = array_head(type, values.size());
        for (const T value : values) body += number(value);
        return body;
    }
    static uint64_t bytes_of(const TensorEntry& tensor) {
        const GgmlType* type = find_ggml_type(tensor.type);
        if (type == nullptr) return 0;
        uint64_t elements = 1;
        for (const uint64_t size : tensor.dims) elements *= size;
        constexpr uint64_t kMost = 1 << 24;  // what claims more is broken on purpose
        return std::min(elements / static_cast<uint64_t>(type->block_elems) *
                            static_cast<uint64_t>(type->block_bytes),
                        kMost);
    }

    // The header, padded, and the bytes of data behind it.
    std::pair<std::string, uint64_t> layout() const {
        std::string head = magic + number(version) +
                           number(tensor_count.value_or(tensors_.size())) +
                           number(entry_count.value_or(entries_.size()));
        for (const Entry& entry : entries_)
            head += string(entry.key) + number(entry.type) + entry.body;
        uint64_t data = 0;
        for (const TensorEntry& tensor : tensors_) {
            head += string(tensor.name) + number(static_cast<uint32_t>(tensor.dims.size()));
            for (const uint64_t size : tensor.dims) head += number(size);
            head += number(tensor.type) + number(tensor.offset.value_or(data));
            data = aligned(data + bytes_of(tensor));
        }
        head.resize(aligned(head.size()), '\0');
        return {head, data};
    }

    std::vector<Entry> entries_;
    std::vector<TensorEntry> tensors_;
};

}  // namespace hetune
