#include "planner/file/gguf_output.h"

#include <cassert>
#include <iterator>

#include "planner/file/ggml_type.h"
#include "planner/file/gguf_value_type.h"

namespace hetune {
namespace {

using namespace gguf_values;

template <class T>
void number(std::string& to, T value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void string(std::string& to, const std::string& text) {
    number(to, uint64_t{text.size()});
    to += text;
}
void array(std::string& to, ValueType type, size_t count) {
    number(to, type);
    number(to, uint64_t{count});
}

ValueType type_of(const MetaValue& value) {
    constexpr ValueType kTypes[] = {kU64, kI64, kF64, kBool, kString, kArray};
    static_assert(std::size(kTypes) == std::variant_size_v<decltype(MetaValue::value)>);
    return kTypes[value.value.index()];
}

void body(std::string& to, const MetaValue& value) {
    std::visit(
        [&](const auto& v) {
            using T = std::decay_t<decltype(v)>;
            if constexpr (std::is_same_v<T, std::string>) {
                string(to, v);
            } else if constexpr (std::is_same_v<T, MetaArray>) {
                array(to, v.empty() ? kU64 : type_of(v[0]), v.size());
                for (const MetaValue& element : v) body(to, element);
            } else {
                number(to, v);
            }
        },
        value.value);
}

}  // namespace

void GgufOutput::entry(const std::string& key, uint32_t type) {
    string(metadata_, key);
    number(metadata_, type);
    ++keys_;
}
void GgufOutput::set(const std::string& key, const std::string& value) {
    entry(key, kString);
    string(metadata_, value);
}
void GgufOutput::set(const std::string& key, int64_t value) {
    entry(key, kU32);
    number(metadata_, static_cast<uint32_t>(value));
}
void GgufOutput::set(const std::string& key, double value) {
    entry(key, kF32);
    number(metadata_, static_cast<float>(value));
}
void GgufOutput::set(const std::string& key, bool value) {
    entry(key, kBool);
    number(metadata_, static_cast<uint8_t>(value));
}
void GgufOutput::set(const std::string& key, const std::vector<std::string>& values) {
    entry(key, kArray);
    array(metadata_, kString, values.size());
    for (const std::string& value : values) string(metadata_, value);
}
void GgufOutput::set(const std::string& key, const std::vector<int32_t>& values) {
    entry(key, kArray);
    array(metadata_, kI32, values.size());
    for (const int32_t value : values) number(metadata_, value);
}
void GgufOutput::set(const std::string& key, const MetaValue& value) {
    entry(key, type_of(value));
    body(metadata_, value);
}

void GgufOutput::add(const std::string& name, uint32_t ggml_type,
                     const std::vector<int64_t>& dims) {
    const GgmlType* type = find_ggml_type(ggml_type);
    assert(type != nullptr && dims[0] % type->block_elems == 0);
    int64_t bytes = type->block_bytes;
    for (const int64_t dim : dims) bytes *= dim;
    bytes /= type->block_elems;
    tensors_.push_back({name, dims, ggml_type, bytes, data_bytes_});
    data_bytes_ += (bytes + kAlign - 1) / kAlign * kAlign;
}

std::string GgufOutput::header() const {
    std::string text = "GGUF";
    number(text, uint32_t{3});
    number(text, uint64_t{tensors_.size()});
    number(text, keys_);
    text += metadata_;
    for (const Tensor& tensor : tensors_) {
        string(text, tensor.name);
        number(text, static_cast<uint32_t>(tensor.dims.size()));
        for (const int64_t dim : tensor.dims) number(text, static_cast<uint64_t>(dim));
        number(text, tensor.ggml_type);
        number(text, static_cast<uint64_t>(tensor.offset));
    }
    text.resize((text.size() + kAlign - 1) / kAlign * kAlign);
    return text;
}

}  // namespace hetune
