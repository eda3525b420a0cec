#include "runtime/load/bad_numbers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "kernel_templates/quant/registry.h"

namespace hetune {
namespace {

const char* name_of(float number) {
    return std::isnan(number) ? "NaN" : number > 0 ? "infinite" : "minus infinity";
}

// The first damaged tensor of the file, as check_weights() words it; empty when all are sound.
std::string damage_in(const ModelFile& file) {
    try {
        for (const Tensor& tensor : file.tensors()) check_weights(file, tensor, 0, tensor.rows());
        return {};
    } catch (const ModelError& error) {
        return error.what();
    }
}

// What to try for a model whose weights are sound.
std::string advice(const LoadOptions& options, const std::optional<BadNumber>& first) {
    std::vector<std::string> tries;
    const bool in_attention = first && first->kernel.starts_with("attention");
    if (options.kv == KvType::kF16) {
        // The largest number of the type; larger keys and values become infinite.
        tries.push_back(
            fmt::format("{} f16 holds numbers up to 65504: try "
                        "ModelOptions::kv_type = \"bf16\"",
                        in_attention ? "a KV cache in" : "the KV cache's"));
    }
    if (options.activations == Activations::kQuantised)
        tries.push_back("try ModelOptions::float_activations = true");
    if (tries.empty()) return "the model itself computes no numbers here";
    return fmt::format("{}", fmt::join(tries, ", or "));
}

}  // namespace

bool all_finite(std::span<const float> values) {
    // One pass without a branch for each value.
    uint32_t widest = 0;
    for (const float v : values)
        widest = std::max(widest, std::bit_cast<uint32_t>(v) & 0x7fffffffu);
    return widest < 0x7f800000u;
}

void check_weights(const ModelFile& file, const Tensor& tensor, int64_t first, int64_t last) {
    const QuantFormat* format = find_quant(tensor.ggml_type);
    if (format == nullptr) return;  // of a type that no kernel reads
    for (int64_t row = first; row < last; ++row)
        if (!format->finite(reinterpret_cast<const uint8_t*>(tensor.row(row)),
                            tensor.row_bytes() / format->block_bytes))
            throw ModelError(
                fmt::format("{}: tensor {}: row {} holds NaN or infinity; the file is damaged or "
                            "was converted wrongly: fetch or convert it again",
                            file.path().string(), tensor.name, row));
}

std::optional<BadNumber> find_bad_number(std::span<const float> rows, int64_t width, int64_t first,
                                         const std::string& value) {
    const auto bad = std::ranges::find_if(rows, [](float v) { return !std::isfinite(v); });
    if (bad == rows.end()) return std::nullopt;
    return BadNumber{value, {}, first + (bad - rows.begin()) / width, *bad};
}

std::optional<BadNumber> find_bad_number(Device& device, const BoundPlan& plan, size_t step,
                                         int rows, int64_t first) {
    const PlanStep& done = plan.plan().steps[step];
    for (const StepValue& value : done.values) {
        const PlanArg& arg = done.args[static_cast<size_t>(value.arg)];
        // Behind last_row a value has one row only, that of the last token.
        const int64_t row_bytes = value.width * static_cast<int64_t>(sizeof(float));
        const int64_t room =
            arg.bytes > 0 ? arg.bytes : static_cast<int64_t>(plan.buffer(arg.buffer).bytes());
        const int64_t held = room < rows * row_bytes ? 1 : rows;
        std::vector<float> got(static_cast<size_t>(held * value.width));
        device.download(std::as_writable_bytes(std::span(got)), plan.buffer(arg.buffer),
                        static_cast<size_t>(arg.offset));
        if (auto bad = find_bad_number(got, value.width, first + rows - held, value.name)) {
            bad->kernel = plan.plan().spec(done).name;
            return bad;
        }
    }
    return std::nullopt;
}

std::string number_error_text(const ModelFile& file, const std::optional<LoadOptions>& options,
                              const std::optional<BadNumber>& first, int64_t tokens) {
    std::string text =
        fmt::format("{}: the logits behind {} tokens are no numbers", file.path().string(), tokens);
    if (first)
        text += fmt::format("; {} is {} at token {} and the first that is none", first->value,
                            name_of(first->number), first->position);
    if (const std::string damage = damage_in(file); !damage.empty())
        return fmt::format("{}; {}", text, damage);
    if (!options)
        return text + "; the model itself computes none, or its hyper-parameters are wrong";
    return fmt::format("{}; {}", text, advice(*options, first));
}

}  // namespace hetune
