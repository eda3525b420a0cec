#include "planner/file/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <mutex>
#include <optional>
#include <regex>
#include <unordered_map>

#include "planner/file/ggml_type.h"
#include "planner/file/gguf.h"
#include "planner/file/mapped_file.h"

namespace hetune {

std::optional<int64_t> MetaValue::integer() const {
    if (const auto* u = std::get_if<uint64_t>(&value))
        return *u <= std::numeric_limits<int64_t>::max() ? std::optional(static_cast<int64_t>(*u))
                                                         : std::nullopt;
    if (const auto* i = std::get_if<int64_t>(&value)) return *i;
    if (const auto* d = std::get_if<double>(&value)) {
        constexpr double kExact = 1LL << 53;  // a double has every whole number up to here
        if (std::abs(*d) <= kExact && std::trunc(*d) == *d) return static_cast<int64_t>(*d);
    }
    return std::nullopt;
}

std::optional<double> MetaValue::number() const {
    if (const auto* d = std::get_if<double>(&value)) return *d;
    if (const auto whole = integer()) return static_cast<double>(*whole);
    return std::nullopt;
}

int64_t Tensor::rows() const {
    int64_t rows = 1;
    for (size_t d = 1; d < dims.size(); ++d) rows *= dims[d];
    return rows;
}

int64_t Tensor::row_bytes() const {
    const GgmlType* type = find_ggml_type(ggml_type);
    return cols() / type->block_elems * type->block_bytes;
}

int64_t Tensor::bytes() const { return rows() * row_bytes(); }

const std::byte* Tensor::row(int64_t index) const {
    const int64_t piece = piece_rows > 0 ? index / piece_rows : 0;
    return data.data() + piece * piece_stride + (index - piece * piece_rows) * row_bytes();
}

const char* Tensor::type_name() const { return find_ggml_type(ggml_type)->name; }

std::string TensorSlice::name() const {
    return pieces == 1 ? fmt::format("{}[{}:{}]", tensor, first, count)
                       : fmt::format("{}[{}x{}:{}]", tensor, pieces, first, count);
}

struct ModelFile::Impl {
    std::filesystem::path path;
    std::vector<std::filesystem::path> parts;
    std::vector<MappedFile> maps;
    std::vector<std::byte> header;  // in the place of maps
    std::map<std::string, MetaValue> metadata;
    std::vector<Tensor> tensors;
    std::unordered_map<std::string_view, size_t> by_name;
    std::map<std::string, Tensor, std::less<>> slices;  // made when they are first asked for
    std::mutex slices_mutex;
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

// TensorSlice::name backwards; empty for another name.
std::optional<TensorSlice> parse_slice(std::string_view name) {
    const size_t open = name.rfind('[');
    if (open == std::string_view::npos || !name.ends_with(']')) return std::nullopt;
    TensorSlice slice{.tensor = std::string(name.substr(0, open))};
    const char* at = name.data() + open + 1;
    const char* const end = name.data() + name.size() - 1;
    const auto number = [&](int64_t& value, char behind) {
        const auto [stop, error] = std::from_chars(at, end, value);
        if (error != std::errc() || (behind != 0 && (stop == end || *stop != behind))) return false;
        at = stop + (behind != 0);
        return true;
    };
    if (name.find('x', open) != std::string_view::npos && !number(slice.pieces, 'x'))
        return std::nullopt;
    if (!number(slice.first, ':') || !number(slice.count, 0) || at != end) return std::nullopt;
    return slice;
}

// Empty where the slice lies outside of the tensor.
std::optional<Tensor> cut(const Tensor& whole, const TensorSlice& slice) {
    const GgmlType& type = *find_ggml_type(whole.ggml_type);
    const bool vector = whole.dims.size() == 1 && type.block_elems == 1;
    const int64_t rows = vector ? whole.cols() : whole.rows();
    if (slice.pieces < 1 || rows % slice.pieces != 0) return std::nullopt;
    const int64_t period = rows / slice.pieces;
    if (slice.first < 0 || slice.count < 1 || slice.count > period ||
        slice.first > period - slice.count || (vector && slice.pieces != 1))
        return std::nullopt;
    const int64_t row_bytes = vector ? type.block_bytes : whole.row_bytes();
    Tensor part{.ggml_type = whole.ggml_type, .offset = whole.offset};
    part.dims =
        vector ? std::vector{slice.count} : std::vector{whole.cols(), slice.count * slice.pieces};
    if (slice.pieces > 1) {
        part.piece_rows = slice.count;
        part.piece_stride = period * row_bytes;
    }
    const auto from = static_cast<uint64_t>(slice.first * row_bytes);
    const auto bytes =
        static_cast<uint64_t>(((slice.pieces - 1) * period + slice.count) * row_bytes);
    part.offset += from;
    if (!whole.data.empty()) part.data = whole.data.subspan(from, bytes);
    return part;
}

}  // namespace

ModelFile::ModelFile(const std::filesystem::path& path, Open mode)
    : impl_(std::make_unique<Impl>()) {
    impl_->path = path;
    impl_->parts = {path};
    int64_t split_count = 1;
    for (size_t i = 0; i < impl_->parts.size(); ++i) {
        const std::filesystem::path name = impl_->parts[i];
        if (std::error_code error; split_count > 1 && !std::filesystem::exists(name, error))
            throw ModelError(fmt::format(
                "{}: part {} of {} is missing; all parts of a model belong into one folder",
                name.string(), i + 1, split_count));
        MappedFile map(name);
        GgufPart part = parse_gguf(name, map.bytes(), mode == Open::kHeaderOnly);
        const auto split = part.metadata.find("split.count");
        const int64_t count =
            split == part.metadata.end() ? 1 : split->second.integer().value_or(-1);
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
                number->second.integer() != static_cast<int64_t>(i))
                throw ModelError(
                    fmt::format("{}: is not part {} of {}; are parts of several models mixed?",
                                name.string(), i + 1, split_count));
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
    const auto count = static_cast<int64_t>(impl_->tensors.size());
    if (const int64_t told = get_int("split.tensors.count", count);
        split_count > 1 && told != count)
        impl_->fail(
            fmt::format("its {} parts have {} tensors, but split.tensors.count says {}; are "
                        "parts of several models mixed?",
                        split_count, count, told));
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
std::vector<struct stat> ModelFile::statuses() const {
    std::vector<struct stat> statuses;
    for (const MappedFile& map : impl_->maps) statuses.push_back(map.status());
    return statuses;
}
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
    if (found != impl_->by_name.end()) return &impl_->tensors[found->second];
    const auto slice = parse_slice(name);
    const auto whole = slice ? impl_->by_name.find(slice->tensor) : impl_->by_name.end();
    if (whole == impl_->by_name.end()) return nullptr;
    const std::lock_guard lock(impl_->slices_mutex);
    const auto known = impl_->slices.find(name);
    if (known != impl_->slices.end()) return &known->second;
    auto made = cut(impl_->tensors[whole->second], *slice);
    if (!made) return nullptr;
    made->name = name;
    return &impl_->slices.emplace(std::string(name), *std::move(made)).first->second;
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
    const auto number = value->integer();
    if (!number) impl_->fail(fmt::format("metadata key '{}' is no integer", key));
    return *number;
}
int64_t ModelFile::get_int(std::string_view key, int64_t fallback) const {
    return find(key) == nullptr ? fallback : get_int(key);
}

double ModelFile::get_float(std::string_view key) const {
    const MetaValue* value = find(key);
    if (value == nullptr) impl_->fail(fmt::format("lacks the metadata key '{}'", key));
    if (const auto number = value->number()) return *number;
    impl_->fail(fmt::format("metadata key '{}' is no number", key));
}
double ModelFile::get_float(std::string_view key, double fallback) const {
    return find(key) == nullptr ? fallback : get_float(key);
}

bool ModelFile::get_bool(std::string_view key, bool fallback) const {
    const MetaValue* value = find(key);
    if (value == nullptr) return fallback;
    if (const auto* flag = std::get_if<bool>(&value->value)) return *flag;
    if (const auto number = value->integer(); number == 0 || number == 1) return number == 1;
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
