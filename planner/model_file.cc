#include "planner/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <regex>
#include <unordered_map>

#include "planner/ggml_type.h"
#include "planner/gguf.h"
#include "planner/mapped_file.h"

namespace hetune {

ModelError::ModelError(std::string message)
    : std::runtime_error([&] {
          std::ranges::replace_if(
              message, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
          return message;
      }()) {}

int64_t Tensor::rows() const {
    int64_t rows = 1;
    for (size_t d = 1; d < dims.size(); ++d) rows *= dims[d];
    return rows;
}

int64_t Tensor::bytes() const {
    const GgmlType* type = find_ggml_type(ggml_type);
    return rows() * (cols() / type->block_elems) * type->block_bytes;
}

const char* Tensor::type_name() const { return find_ggml_type(ggml_type)->name; }

struct ModelFile::Impl {
    std::filesystem::path path;
    std::vector<std::filesystem::path> parts;
    std::vector<MappedFile> maps;
    std::vector<std::byte> header;  // in the place of maps
    std::map<std::string, MetaValue> metadata;
    std::vector<Tensor> tensors;
    std::unordered_map<std::string_view, size_t> by_name;
    uint64_t bytes = 0;
    uint32_t version = 0;

    [[noreturn]] void fail(const std::string& what) const {
        throw ModelError(fmt::format("{}: {}", path.string(), what));
    }
};

namespace {

// The names of all parts of a split file, given any one; just `path` for a whole one.
std::vector<std::filesystem::path> part_names(const std::filesystem::path& path, int64_t count) {
    static const std::regex kPart(R"((.*)-(\d{5})-of-(\d{5})\.gguf)");
    std::smatch match;
    const std::string name = path.filename().string();
    if (!std::regex_match(name, match, kPart) || std::stoll(match[3]) != count)
        throw ModelError(
            fmt::format("{}: one of {} parts, but its name does not end in -0000N-of-{:05}.gguf",
                        path.string(), count, count));
    std::vector<std::filesystem::path> names;
    for (int64_t i = 1; i <= count; ++i)
        names.push_back(path.parent_path() /
                        fmt::format("{}-{:05}-of-{:05}.gguf", match[1].str(), i, count));
    return names;
}

std::optional<int64_t> integer(const MetaValue& value) {
    if (const auto* u = std::get_if<uint64_t>(&value.value))
        return *u <= std::numeric_limits<int64_t>::max() ? std::optional(static_cast<int64_t>(*u))
                                                         : std::nullopt;
    if (const auto* i = std::get_if<int64_t>(&value.value)) return *i;
    return std::nullopt;
}

}  // namespace

ModelFile::ModelFile(const std::filesystem::path& path, Open mode)
    : impl_(std::make_unique<Impl>()) {
    impl_->path = path;
    impl_->parts = {path};
    int64_t split_count = 1;
    for (size_t i = 0; i < impl_->parts.size(); ++i) {
        const std::filesystem::path name = impl_->parts[i];
        MappedFile map(name);
        GgufPart part = parse_gguf(name, map.bytes(), mode == Open::kHeaderOnly);
        const auto split = part.metadata.find("split.count");
        const int64_t count =
            split == part.metadata.end() ? 1 : integer(split->second).value_or(-1);
        if (count < 0 || count > 99999) impl_->fail("split.count is out of range");
        if (impl_->parts.size() == 1 && count > 1) {  // start again with the first part
            split_count = count;
            impl_->parts = part_names(path, count);
            i = static_cast<size_t>(-1);
            continue;
        }
        if (split_count > 1) {
            const auto number = part.metadata.find("split.no");
            if (count != split_count || number == part.metadata.end() ||
                integer(number->second) != static_cast<int64_t>(i))
                throw ModelError(
                    fmt::format("{}: is not part {} of {}", name.string(), i + 1, split_count));
        }
        impl_->bytes += map.bytes().size();
        if (i == 0) {
            impl_->version = part.version;
            impl_->metadata = std::move(part.metadata);
        }
        for (Tensor& tensor : part.tensors) impl_->tensors.push_back(std::move(tensor));
        impl_->maps.push_back(std::move(map));
    }
    for (size_t i = 0; i < impl_->tensors.size(); ++i)
        if (!impl_->by_name.emplace(impl_->tensors[i].name, i).second)
            impl_->fail(fmt::format("tensor '{}' stands in two parts", impl_->tensors[i].name));
}

ModelFile::ModelFile(const std::string& name, std::vector<std::byte> header)
    : impl_(std::make_unique<Impl>()) {
    impl_->path = name;
    impl_->parts = {name};
    impl_->header = std::move(header);
    GgufPart part = parse_gguf(name, impl_->header, true);
    impl_->bytes = impl_->header.size();
    impl_->version = part.version;
    impl_->metadata = std::move(part.metadata);
    impl_->tensors = std::move(part.tensors);
    for (size_t i = 0; i < impl_->tensors.size(); ++i)
        impl_->by_name.emplace(impl_->tensors[i].name, i);
}

ModelFile::~ModelFile() = default;
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;

const std::filesystem::path& ModelFile::path() const { return impl_->path; }
const std::vector<std::filesystem::path>& ModelFile::parts() const { return impl_->parts; }
const std::map<std::string, MetaValue>& ModelFile::metadata() const { return impl_->metadata; }
const std::vector<Tensor>& ModelFile::tensors() const { return impl_->tensors; }
std::vector<std::span<const std::byte>> ModelFile::headers() const {
    if (impl_->maps.empty()) return {impl_->header};
    std::vector<std::span<const std::byte>> headers;
    for (const MappedFile& map : impl_->maps) {
        const auto all = map.bytes();
        size_t end = all.size();
        for (const Tensor& tensor : impl_->tensors) {
            const std::byte* at = tensor.data.data();
            if (at >= all.data() && at < all.data() + all.size())
                end = std::min(end, static_cast<size_t>(at - all.data()));
        }
        headers.push_back(all.first(end));
    }
    return headers;
}

uint64_t ModelFile::bytes() const { return impl_->bytes; }
uint32_t ModelFile::version() const { return impl_->version; }

const Tensor* ModelFile::find_tensor(std::string_view name) const {
    const auto found = impl_->by_name.find(name);
    return found == impl_->by_name.end() ? nullptr : &impl_->tensors[found->second];
}

const Tensor& ModelFile::tensor(std::string_view name) const {
    if (const Tensor* found = find_tensor(name)) return *found;
    impl_->fail(fmt::format("lacks the tensor '{}'", name));
}

const MetaValue* ModelFile::find(std::string_view key) const {
    const auto found = impl_->metadata.find(std::string(key));
    return found == impl_->metadata.end() ? nullptr : &found->second;
}

int64_t ModelFile::get_int(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) impl_->fail(fmt::format("lacks the metadata key '{}'", key));
    const auto number = integer(*value);
    if (!number) impl_->fail(fmt::format("metadata key '{}' is no integer", key));
    return *number;
}
int64_t ModelFile::get_int(std::string_view key, int64_t fallback) const {
    return find(key) == nullptr ? fallback : get_int(key);
}

double ModelFile::get_float(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) impl_->fail(fmt::format("lacks the metadata key '{}'", key));
    if (const auto* number = std::get_if<double>(&value->value)) return *number;
    return static_cast<double>(get_int(key));
}
double ModelFile::get_float(std::string_view key, double fallback) const {
    return find(key) == nullptr ? fallback : get_float(key);
}

bool ModelFile::get_bool(std::string_view key, bool fallback) const {
    const MetaValue* value = find(key);
    if (value == nullptr) return fallback;
    if (const auto* flag = std::get_if<bool>(&value->value)) return *flag;
    impl_->fail(fmt::format("metadata key '{}' is no bool", key));
}

std::string ModelFile::get_string(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) impl_->fail(fmt::format("lacks the metadata key '{}'", key));
    if (const auto* text = std::get_if<std::string>(&value->value)) return *text;
    impl_->fail(fmt::format("metadata key '{}' is no string", key));
}
std::string ModelFile::get_string(std::string_view key, std::string_view fallback) const {
    return find(key) == nullptr ? std::string(fallback) : get_string(key);
}

const MetaArray* ModelFile::find_array(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) return nullptr;
    if (const auto* array = std::get_if<MetaArray>(&value->value)) return array;
    impl_->fail(fmt::format("metadata key '{}' is no array", key));
}

}  // namespace hetune
