// hetune inspect: what a model file says about itself.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>

#include "planner/file/model_file.h"
#include "runtime/text/utf8.h"
#include "tools/command.h"
#include "tools/json_output.h"
#include "tools/options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kArrayHead = 6;   // entries of a long array
constexpr size_t kTextHead = 200;  // bytes of a long text

struct Options {
    std::string file;
    bool json = false;
    bool tensors = false;
    bool all = false;
};

struct Total {
    int64_t tensors = 0;
    int64_t elements = 0;
    int64_t bytes = 0;
};

int64_t elements_of(const Tensor& tensor) { return tensor.cols() * tensor.rows(); }

Json to_json(const MetaValue& value) {
    return std::visit(
        [](const auto& v) -> Json {
            using T = std::decay_t<decltype(v)>;
            if constexpr (std::is_same_v<T, std::string>) {
                return to_valid_utf8(v);
            } else if constexpr (std::is_same_v<T, MetaArray>) {
                Json list = Json::array();
                for (const MetaValue& entry : v) list.push_back(to_json(entry));
                return list;
            } else {
                return v;
            }
        },
        value.value);
}

// Long arrays and texts become a string that says how much there is more.
Json shortened(Json value) {
    if (value.is_array() && value.size() > kArrayHead) {
        Json head = Json::array();
        for (size_t i = 0; i < kArrayHead; ++i) head.push_back(shortened(value[i]));
        head.push_back(fmt::format("... {} more", value.size() - kArrayHead));
        return head;
    }
    if (value.is_string() && value.get_ref<const std::string&>().size() > kTextHead) {
        const std::string& text = value.get_ref<const std::string&>();
        size_t end = kTextHead;
        while ((text[end] & 0xC0) == 0x80) --end;  // not within a character
        return fmt::format("{}... {} more bytes", text.substr(0, end), text.size() - end);
    }
    return value;
}

std::map<std::string, Total> totals_by_type(const ModelFile& file) {
    std::map<std::string, Total> totals;
    for (const Tensor& tensor : file.tensors()) {
        Total& total = totals[tensor.type_name()];
        ++total.tensors;
        total.elements += elements_of(tensor);
        total.bytes += tensor.bytes();
    }
    return totals;
}

Total sum_of(const std::map<std::string, Total>& totals) {
    Total sum;
    for (const auto& [type, total] : totals) {
        sum.tensors += total.tensors;
        sum.elements += total.elements;
        sum.bytes += total.bytes;
    }
    return sum;
}

void print_json(const ModelFile& file, const Options& options) {
    Json metadata = Json::object();
    for (const auto& [key, value] : file.metadata())
        metadata[to_valid_utf8(key)] = options.all ? to_json(value) : shortened(to_json(value));
    Json types = Json::object();
    const auto totals = totals_by_type(file);
    for (const auto& [type, total] : totals)
        types[type] = {
            {"tensors", total.tensors}, {"parameters", total.elements}, {"bytes", total.bytes}};
    Json out = {{"file", file.path().string()},
                {"parts", file.parts().size()},
                {"gguf_version", file.version()},
                {"bytes", file.bytes()},
                {"parameters", sum_of(totals).elements},
                {"metadata", std::move(metadata)},
                {"types", std::move(types)}};
    if (options.tensors) {
        Json tensors = Json::array();
        for (const Tensor& tensor : file.tensors())
            tensors.push_back({{"name", to_valid_utf8(tensor.name)},
                               {"type", tensor.type_name()},
                               {"shape", tensor.dims},
                               {"bytes", tensor.bytes()},
                               {"offset", tensor.offset}});
        out["tensors"] = std::move(tensors);
    }
    fmt::print("{}\n", json_text(out));
}

void print_text(const ModelFile& file, const Options& options) {
    fmt::print("{}: GGUF v{}, {} part(s), {} bytes\n\nMetadata\n", file.path().string(),
               file.version(), file.parts().size(), file.bytes());
    for (const auto& [key, value] : file.metadata()) {
        const Json json = options.all ? to_json(value) : shortened(to_json(value));
        fmt::print("  {:<44} {}\n", to_valid_utf8(key), json_text(json, -1));
    }
    if (options.tensors) {
        fmt::print("\n{:<40} {:<8} {:>24} {:>14} {:>14}\n", "Tensor", "type", "shape", "bytes",
                   "offset");
        for (const Tensor& tensor : file.tensors())
            fmt::print("{:<40} {:<8} {:>24} {:>14} {:>14}\n", to_valid_utf8(tensor.name),
                       tensor.type_name(), fmt::format("{}", fmt::join(tensor.dims, " x ")),
                       tensor.bytes(), tensor.offset);
    }
    const auto totals = totals_by_type(file);
    const auto row = [](std::string_view name, const Total& total) {
        fmt::print("{:<8} {:>8} {:>16} {:>16} {:>8.3f}\n", name, total.tensors, total.elements,
                   total.bytes,
                   total.elements == 0 ? 0.0
                                       : 8.0 * static_cast<double>(total.bytes) /
                                             static_cast<double>(total.elements));
    };
    fmt::print("\n{:<8} {:>8} {:>16} {:>16} {:>8}\n", "Type", "tensors", "parameters", "bytes",
               "bits");
    for (const auto& [type, total] : totals) row(type, total);
    row("all", sum_of(totals));
}

const RegisterCommand kInspect{
    "inspect", "Prints metadata, tensors and totals of a model file", [](CLI::App& app) {
        auto options = std::make_shared<Options>();
        app.add_option("FILE", options->file, "model file (its header will do)")
            ->check(not_empty())
            ->required();
        app.add_flag("--json", options->json, "Print JSON");
        app.add_flag("--tensors", options->tensors,
                     "List every tensor: type, shape (contiguous dimension first), bytes, offset");
        app.add_flag("--all", options->all, "Print long arrays and texts in full");
        app.footer(
            "Example:\n  hetune inspect model.gguf --tensors\n"
            "  hetune inspect model.gguf --json --all");
        return [options] {
            const ModelFile file(options->file, ModelFile::Open::kHeaderOnly);
            if (options->json)
                print_json(file, *options);
            else
                print_text(file, *options);
            return 0;
        };
    }};

}  // namespace
}  // namespace hetune
