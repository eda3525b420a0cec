#include "planner/file/model_header.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "planner/file/ggml_type.h"
#include "planner/file/gguf_output.h"
#include "planner/file/read_file.h"

namespace hetune {
namespace {

using Json = nlohmann::json;

std::vector<std::byte> bytes_of(const GgufOutput& file) {
    const std::string header = file.header();
    const auto bytes = std::as_bytes(std::span(header));
    return {bytes.begin(), bytes.end()};
}

class Description {
  public:
    explicit Description(const std::filesystem::path& path) : path_(path) {
        const std::string text = read_file(path);
        // nlohmann frees and copies nested values by recursion: a text must not choose how deep.
        const auto within_depth = [&](int depth, Json::parse_event_t, Json&) {
            if (depth > kMaxDepth)
                fail(fmt::format("nests deeper than {} levels: no description of a model",
                                 kMaxDepth));
            return true;
        };
        json_ = Json::parse(text, within_depth, false);
        if (!json_.is_object() || !json_["metadata"].is_object() || !json_["tensors"].is_array())
            fail(
                "is no description of a model; `hetune inspect MODEL --json --tensors` prints one");
    }

    ModelFile model() const try {
        GgufOutput file;
        for (const auto& [key, value] : json_["metadata"].items())
            if (!key.starts_with("tokenizer.")) file.set(key, meta_value(key, value));
        for (const Json& tensor : json_["tensors"]) add(file, tensor);
        return {path_.string(), bytes_of(file)};
    } catch (const Json::exception&) {
        fail("has a value of the wrong kind where a tensor or its name, type or shape is due");
    }

  private:
    static constexpr int kMaxDepth = 32;  // a description nests 4 deep

    [[noreturn]] void fail(const std::string& what) const {
        throw ModelError(fmt::format("{}: {}", path_.string(), what));
    }

    MetaValue meta_value(const std::string& key, const Json& json) const {
        if (json.is_string()) return {json.get<std::string>()};
        if (json.is_boolean()) return {json.get<bool>()};
        if (json.is_number_unsigned()) return {json.get<uint64_t>()};
        if (json.is_number_integer()) return {json.get<int64_t>()};
        if (json.is_number_float()) return {json.get<double>()};
        if (!json.is_array()) fail(fmt::format("'{}' is neither a value nor a list", key));
        MetaArray array;
        for (const Json& element : json) {
            array.push_back(meta_value(key, element));
            if (array.back().value.index() != array.front().value.index())
                fail(fmt::format(
                    "'{}' is a list of several types; was it shortened? `hetune inspect "
                    "--all` prints all of it",
                    key));
        }
        return {std::move(array)};
    }

    void add(GgufOutput& file, const Json& tensor) const {
        const std::string name = tensor.value("name", "");
        const std::string type_name = tensor.value("type", "");
        const GgmlType* type = find_ggml_type(type_name);
        if (type == nullptr)
            fail(fmt::format("tensor '{}' has the unknown type '{}'", name, type_name));
        std::vector<int64_t> shape;
        if (tensor.contains("shape") && tensor["shape"].is_array())
            for (const Json& size : tensor["shape"])
                shape.push_back(size.is_number_integer() ? size.get<int64_t>() : 0);
        int64_t elements = 1;
        for (const int64_t size : shape)
            if (size < 1 || elements > (int64_t{1} << 48) / size)
                elements = 0;
            else if (elements > 0)
                elements *= size;
        if (shape.empty() || elements == 0 || shape[0] % type->block_elems != 0)
            fail(fmt::format("tensor '{}' has no shape of whole {} blocks", name, type_name));
        file.add(name, type->id, shape);
    }

    std::filesystem::path path_;
    Json json_;
};

}  // namespace

std::vector<std::byte> planning_header(const ModelFile& file) {
    const std::string architecture = file.get_string("general.architecture");
    GgufOutput out;
    for (const auto& [key, value] : file.metadata())
        if (key == "general.architecture" || key.starts_with(architecture + "."))
            out.set(key, value);
    for (const Tensor& tensor : file.tensors()) out.add(tensor.name, tensor.ggml_type, tensor.dims);
    return bytes_of(out);
}

ModelFile read_model_description(const std::filesystem::path& path) try {
    return Description(path).model();
} catch (const Json::exception& error) {
    throw ModelError(fmt::format("{}: {}", path.string(), error.what()));
}

}  // namespace hetune
