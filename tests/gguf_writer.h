// Writes small GGUF v3 files with metadata and no tensors, for tests of what reads metadata.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace hetune {

class GgufWriter {
  public:
    GgufWriter& set(const std::string& key, const std::string& value) {
        return entry(key, kString), string(value), *this;
    }
    GgufWriter& set(const std::string& key, const char* value) {  // or it would be a bool
        return set(key, std::string(value));
    }
    GgufWriter& set(const std::string& key, uint32_t value) {
        return entry(key, kU32), number(value), *this;
    }
    GgufWriter& set(const std::string& key, bool value) {
        return entry(key, kBool), number(static_cast<uint8_t>(value)), *this;
    }
    GgufWriter& set(const std::string& key, const std::vector<std::string>& values) {
        entry(key, kArray), number(kString), number(uint64_t{values.size()});
        for (const std::string& value : values) string(value);
        return *this;
    }
    GgufWriter& set(const std::string& key, const std::vector<float>& values) {
        entry(key, kArray), number(kF32), number(uint64_t{values.size()});
        for (float value : values) number(value);
        return *this;
    }
    GgufWriter& set(const std::string& key, const std::vector<int32_t>& values) {
        entry(key, kArray), number(kI32), number(uint64_t{values.size()});
        for (int32_t value : values) number(value);
        return *this;
    }

    void write(const std::filesystem::path& path) const {
        std::ofstream file(path, std::ios::binary);
        const auto put = [&](auto value) {
            file.write(reinterpret_cast<const char*>(&value), sizeof value);
        };
        file << "GGUF";
        put(uint32_t{3}), put(uint64_t{0}), put(entries_);
        file << body_;
        for (size_t at = 24 + body_.size(); at % 32 != 0; ++at) file.put(0);
    }

  private:
    enum Type : uint32_t { kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9 };

    template <class T>
    void number(T value) {
        body_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    void string(const std::string& text) {
        number(uint64_t{text.size()});
        body_ += text;
    }
    void entry(const std::string& key, Type type) {
        string(key), number(type);
        ++entries_;
    }

    std::string body_;
    uint64_t entries_ = 0;
};

}  // namespace hetune
