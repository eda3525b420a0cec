#include "planner/file/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "planner/file/ggml_type.h"
#include "planner/file/gguf_value_type.h"

namespace hetune {
namespace {

constexpr size_t kMaxNesting = 4;
constexpr int64_t kMaxElements = int64_t{1} << 48;

using namespace gguf_values;
constexpr size_t kValueBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};  // the least of each

class Reader {
  public:
    Reader(const std::filesystem::path& path, std::span<const std::byte> bytes)
        : path_(path), bytes_(bytes) {}

    [[noreturn]] void fail(const std::string& what) const {
        throw ModelError(fmt::format("{}: {}", path_.string(), what));
    }

    // `part` of `what`, in an error: a vocabulary has hundreds of thousands of strings, so the two
    // are joined only there.
    template <class T>
    T take(std::string_view what, std::string_view part = "") {
        if (left() < sizeof(T))
            fail(fmt::format("the file ends inside {}{}, after {} bytes; is it cut short?", part,
                             what, bytes_.size()));
        T value;
        std::memcpy(&value, bytes_.data() + at_, sizeof(T));
        at_ += sizeof(T);
        return value;
    }

    std::string string(const std::string& what) {
        const auto length = take<uint64_t>(what, "the length of ");
        if (length > left())
            fail(fmt::format("{} claims {} bytes, {} are left in the file; is it cut short?", what,
                             length, left()));
        std::string text(reinterpret_cast<const char*>(bytes_.data()) + at_, length);
        at_ += length;
        return text;
    }

    MetaValue value(uint32_t type, const std::string& key, size_t depth) {
        switch (type) {
            case kU8:
                return {uint64_t{take<uint8_t>(key)}};
            case kI8:
                return {int64_t{take<int8_t>(key)}};
            case kU16:
                return {uint64_t{take<uint16_t>(key)}};
            case kI16:
                return {int64_t{take<int16_t>(key)}};
            case kU32:
                return {uint64_t{take<uint32_t>(key)}};
            case kI32:
                return {int64_t{take<int32_t>(key)}};
            case kF32:
                return {static_cast<double>(take<float>(key))};
            case kBool: {
                const auto byte = take<uint8_t>(key);
                if (byte > 1) fail(fmt::format("{} is a bool of value {}", key, byte));
                return {byte == 1};
            }
            case kString:
                return {string(key)};
            case kArray:
                return array(key, depth);
            case kU64:
                return {take<uint64_t>(key)};
            case kI64:
                return {take<int64_t>(key)};
            case kF64:
                return {take<double>(key)};
            default:
                fail(fmt::format("{} has the unknown value type {}", key, type));
        }
    }

    size_t left() const { return bytes_.size() - at_; }
    size_t position() const { return at_; }

  private:
    MetaValue array(const std::string& key, size_t depth) {
        if (depth >= kMaxNesting) fail(fmt::format("{} nests arrays too deeply", key));
        const auto type = take<uint32_t>(key);
        const auto count = take<uint64_t>(key);
        if (type > kF64) fail(fmt::format("{} is an array of the unknown type {}", key, type));
        if (count > left() / kValueBytes[type])
            fail(fmt::format(
                "{} claims {} elements, which do not fit into the file; is it cut short?", key,
                count));
        MetaArray elements;
        elements.reserve(count);
        for (uint64_t i = 0; i < count; ++i) elements.push_back(value(type, key, depth + 1));
        return {std::move(elements)};
    }

    const std::filesystem::path& path_;
    std::span<const std::byte> bytes_;
    size_t at_ = 0;
};

struct Extent {
    uint64_t offset;  // from the start of the data
    uint64_t bytes;
};

// One tensor description; its data is filled in once the start of the data is known.
Extent read_tensor(Reader& reader, Tensor& tensor) {
    tensor.name = reader.string("a tensor name");
    if (tensor.name.empty()) reader.fail("a tensor has an empty name");
    const std::string what = fmt::format("tensor '{}'", tensor.name);
    const auto dims = reader.take<uint32_t>(what);
    if (dims < 1 || dims > 4) reader.fail(fmt::format("{} has {} dimensions", what, dims));
    int64_t elements = 1;
    for (uint32_t d = 0; d < dims; ++d) {
        const auto size = reader.take<uint64_t>(what);
        if (size == 0 || size > static_cast<uint64_t>(kMaxElements / elements))
            reader.fail(fmt::format("{} has a dimension of {}", what, size));
        elements *= static_cast<int64_t>(size);
        tensor.dims.push_back(static_cast<int64_t>(size));
    }
    tensor.ggml_type = reader.take<uint32_t>(what);
    const GgmlType* type = find_ggml_type(tensor.ggml_type);
    if (type == nullptr) {
        const std::string name = name_of_foreign_type(tensor.ggml_type);
        reader.fail(fmt::format("{} has the unknown type {}{}; quantise the model to another type",
                                what, tensor.ggml_type,
                                name.empty() ? ", of a newer format" : " (" + name + ")"));
    }
    if (tensor.dims[0] % type->block_elems != 0)
        reader.fail(fmt::format("{}: rows of {} are no multiple of the {} block of {}", what,
                                tensor.dims[0], type->name, type->block_elems));
    const auto offset = reader.take<uint64_t>(what);
    return {offset, static_cast<uint64_t>(elements / type->block_elems * type->block_bytes)};
}

constexpr size_t kLeastBytes = 24;  // magic number, version and both counts

// What a file without GGUF's magic number seems to be.
std::string not_gguf(std::string_view text) {
    constexpr struct {
        std::string_view start, what;
    } kKinds[] = {
        {"FUGG", "a big-endian GGUF file; only little-endian ones are read"},
        {"version https://git-lfs",
         "not a GGUF file but a Git LFS pointer: `git lfs pull` gets it"},
        {"PK", "not a GGUF file but a zip archive, as PyTorch writes"},
        {"lmgg", "not a GGUF file but one of the older ggml formats; convert the model again"},
        {"fmgg", "not a GGUF file but one of the older ggml formats; convert the model again"},
        {"tjgg", "not a GGUF file but one of the older ggml formats; convert the model again"},
        {"algg", "not a GGUF file but an adapter of an older ggml format"},
        {"<!DOCTYPE", "not a GGUF file but a web page; was a download refused?"},
        {"<html", "not a GGUF file but a web page; was a download refused?"},
        {"\x1f\x8b", "not a GGUF file but a gzip archive; unpack it first"},
        {"\x28\xb5\x2f\xfd", "not a GGUF file but a zstd archive; unpack it first"},
        {"\xfd"
         "7zXZ",
         "not a GGUF file but an xz archive; unpack it first"},
        {"7z\xbc\xaf", "not a GGUF file but a 7z archive; unpack it first"},
        {"\x80\x02", "not a GGUF file but a pickle, as PyTorch writes"},
        {"\x93NUMPY", "not a GGUF file but a NumPy array"},
        {"\x89HDF", "not a GGUF file but an HDF5 file, as Keras writes"},
        {"\x7f"
         "ELF",
         "not a GGUF file but a program"},
    };
    for (const auto& kind : kKinds)
        if (text.starts_with(kind.start)) return std::string(kind.what);
    if (text.size() > 9 && text[8] == '{')
        return "not a GGUF file but a safetensors file; convert_hf_to_gguf.py of llama.cpp "
               "converts its folder";
    const std::string_view start = text.substr(0, 40);
    const auto printable = [](char c) { return (c >= 0x20 && c < 0x7F) || c == '\n' || c == '\r'; };
    if (std::ranges::all_of(start, printable))
        return fmt::format(
            "not a GGUF file but a text, which begins with '{}'; was a download refused?", start);
    if (std::ranges::all_of(start, [](char c) { return c == 0; }))
        return "not a GGUF file: it begins with zeros; is a download or a copy unfinished?";
    return "not a GGUF file (the magic number is missing)";
}

uint64_t saturated(uint64_t a, uint64_t b) { return a + b < a ? ~uint64_t{0} : a + b; }

// The bytes that a file must have so that all of its tensors lie in it, told in an error.
std::string cut_short(const std::string& what, uint64_t needed, uint64_t there) {
    return fmt::format(
        "{} ends past the end of the file: {} of {} bytes are missing; the file is cut short, "
        "download or copy it again",
        what, needed - there, needed);
}

}  // namespace

GgufPart parse_gguf(const std::filesystem::path& path, std::span<const std::byte> bytes,
                    bool header_only) {
    Reader reader(path, bytes);
    GgufPart part;
    if (bytes.empty()) reader.fail("is empty");
    constexpr std::string_view kMagic = "GGUF";
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!text.starts_with(kMagic)) reader.fail(not_gguf(text));
    if (bytes.size() < kLeastBytes)
        reader.fail(fmt::format("has {} bytes, too short to be a GGUF file", bytes.size()));
    reader.take<uint32_t>("the magic number");
    part.version = reader.take<uint32_t>("the version");
    // A writer of the other byte order leaves the magic number as it is.
    if (const uint32_t swapped = __builtin_bswap32(part.version); swapped >= 1 && swapped < 256)
        reader.fail(
            "a big-endian GGUF file, as machines like s390x have it; only little-endian ones are "
            "read: `gguf_convert_endian.py FILE little` of llama.cpp's gguf-py turns it round");
    if (part.version == 0)
        reader.fail("GGUF version 0, which there is not; is a download or a copy unfinished?");
    if (part.version != 2 && part.version != 3)
        reader.fail(fmt::format("GGUF version {}; versions 2 and 3 are read{}", part.version,
                                part.version == 1 ? ": convert the model again" : ""));
    const auto tensor_count = reader.take<uint64_t>("the tensor count");
    const auto meta_count = reader.take<uint64_t>("the metadata count");
    if (tensor_count > bytes.size() / 24)
        reader.fail(fmt::format("claims {} tensors, more than fit into the file; is it cut short?",
                                tensor_count));
    if (meta_count > bytes.size() / 13)
        reader.fail(
            fmt::format("claims {} metadata entries, more than fit into the file; is it cut short?",
                        meta_count));

    for (uint64_t i = 0; i < meta_count; ++i) {
        std::string key = reader.string("a metadata key");
        if (key.empty() || key.size() > 65535)
            reader.fail(fmt::format("a metadata key of {} bytes", key.size()));
        const auto type = reader.take<uint32_t>(key);
        MetaValue value = reader.value(type, key, 0);
        const auto [at, added] = part.metadata.emplace(std::move(key), std::move(value));
        if (!added) reader.fail(fmt::format("metadata key '{}' stands twice", at->first));
    }

    std::vector<Extent> extents;
    std::set<std::string_view> names;
    part.tensors.reserve(tensor_count);
    for (uint64_t i = 0; i < tensor_count; ++i) {
        part.tensors.emplace_back();
        extents.push_back(read_tensor(reader, part.tensors.back()));
        if (!names.insert(part.tensors.back().name).second)
            reader.fail(fmt::format("tensor '{}' stands twice", part.tensors.back().name));
    }

    uint64_t alignment = 32;
    if (const auto found = part.metadata.find("general.alignment"); found != part.metadata.end()) {
        const auto value = found->second.integer();
        if (!value || *value < 1 || *value > 1 << 20 || (*value & (*value - 1)) != 0)
            reader.fail("general.alignment is no power of two up to 1 MiB");
        alignment = static_cast<uint64_t>(*value);
    }
    const uint64_t start = (reader.position() + alignment - 1) / alignment * alignment;

    uint64_t end = start;  // of the tensor that lies farthest back
    for (const Extent& extent : extents)
        end = std::max(end, saturated(saturated(start, extent.offset), extent.bytes));
    std::vector<size_t> order;
    for (size_t i = 0; i < extents.size(); ++i) {
        const std::string what = fmt::format("tensor '{}'", part.tensors[i].name);
        if (extents[i].offset % alignment != 0)
            reader.fail(fmt::format("{} starts at {}, which is not aligned to {}", what,
                                    extents[i].offset, alignment));
        order.push_back(i);
        part.tensors[i].offset = start + extents[i].offset;
        if (header_only) continue;
        const uint64_t room = bytes.size() > start ? bytes.size() - start : 0;
        if (extents[i].offset > room || extents[i].bytes > room - extents[i].offset)
            reader.fail(cut_short(what, end, bytes.size()));
        part.tensors[i].data = bytes.subspan(start + extents[i].offset, extents[i].bytes);
    }
    std::ranges::sort(order, {}, [&](size_t i) { return extents[i].offset; });
    for (size_t i = 1; i < order.size(); ++i) {
        const Extent& before = extents[order[i - 1]];
        if (before.offset + before.bytes > extents[order[i]].offset)
            reader.fail(fmt::format("tensors '{}' and '{}' overlap",
                                    part.tensors[order[i - 1]].name, part.tensors[order[i]].name));
    }
    return part;
}

}  // namespace hetune
