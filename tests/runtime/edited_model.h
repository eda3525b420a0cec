// A model file that a test changes: its metadata and the bytes of its tensors, to be written again
// with the value types that llama.cpp asks for.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "planner/file/gguf_output.h"
#include "planner/file/model_file.h"

namespace hetune {

class EditedModel {
  public:
    struct Part {
        std::string name;
        std::vector<int64_t> dims;  // ggml order
        uint32_t ggml_type = 0;
        std::string bytes;
    };

    explicit EditedModel(const std::filesystem::path& path) {
        const ModelFile file(path);
        metadata = file.metadata();
        for (const Tensor& tensor : file.tensors())
            tensors.push_back({tensor.name, tensor.dims, tensor.ggml_type,
                               std::string(reinterpret_cast<const char*>(tensor.data.data()),
                                           tensor.data.size())});
    }

    std::map<std::string, MetaValue> metadata;
    std::vector<Part> tensors;

    Part& tensor(const std::string& name) {
        const auto found = std::ranges::find(tensors, name, &Part::name);
        if (found == tensors.end()) throw std::runtime_error("no tensor " + name);
        return *found;
    }
    void remove(const std::string& name) {
        std::erase_if(tensors, [&](const Part& part) { return part.name == name; });
    }
    void add(const std::string& name, const std::vector<float>& values) {
        tensors.push_back({name,
                           {static_cast<int64_t>(values.size())},
                           0,
                           std::string(reinterpret_cast<const char*>(values.data()),
                                       values.size() * sizeof(float))});
    }
    // One tensor in the place of several: `pieces` times a piece of each, one behind the other.
    void fuse(const std::string& name, const std::vector<std::string>& parts, int64_t pieces = 1) {
        Part fused = tensor(parts[0]);
        fused.name = name;
        fused.bytes.clear();
        fused.dims[1] = 0;
        for (const std::string& part : parts) fused.dims[1] += tensor(part).dims[1];
        for (int64_t piece = 0; piece < pieces; ++piece)
            for (const std::string& part : parts) {
                const std::string& bytes = tensor(part).bytes;
                const size_t size = bytes.size() / static_cast<size_t>(pieces);
                fused.bytes += bytes.substr(static_cast<size_t>(piece) * size, size);
            }
        for (const std::string& part : parts) remove(part);
        tensors.push_back(std::move(fused));
    }

    void write(const std::filesystem::path& path) const {
        GgufOutput out;
        for (const auto& [key, value] : metadata) set(out, key, value);
        for (const Part& part : tensors) out.add(part.name, part.ggml_type, part.dims);
        std::string bytes = out.header();
        const size_t start = bytes.size();
        bytes.resize(start + static_cast<size_t>(out.data_bytes()));
        for (size_t i = 0; i < tensors.size(); ++i)
            std::memcpy(bytes.data() + start + out.tensors()[i].offset, tensors[i].bytes.data(),
                        tensors[i].bytes.size());
        std::ofstream(path, std::ios::binary) << bytes;
    }

  private:
    static void set(GgufOutput& out, const std::string& key, const MetaValue& value) {
        const auto* list = std::get_if<MetaArray>(&value.value);
        if (list != nullptr && !list->empty() &&
            std::holds_alternative<std::string>(list->front().value)) {
            std::vector<std::string> texts;
            for (const MetaValue& text : *list) texts.push_back(std::get<std::string>(text.value));
            out.set(key, texts);
        } else if (list != nullptr) {
            std::vector<int32_t> numbers;
            for (const MetaValue& number : *list)
                numbers.push_back(static_cast<int32_t>(number.integer().value_or(0)));
            out.set(key, numbers);
        } else if (const auto* number = std::get_if<double>(&value.value)) {
            out.set(key, *number);
        } else if (const auto whole = value.integer()) {
            out.set(key, *whole);
        } else {
            out.set(key, value);  // a text or a bool
        }
    }
};

}  // namespace hetune
