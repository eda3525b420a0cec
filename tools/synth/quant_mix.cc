#include "tools/synth/quant_mix.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string_view>

#include "kernel_templates/quant/registry.h"

namespace hetune {
namespace {

struct Mix {
    const char* name;
    int64_t file_type;
    const char* base;  // of what no rule names
};
constexpr Mix kMixes[] = {
    {"F32", 0, "F32"},        {"F16", 1, "F16"},      {"BF16", 32, "BF16"},
    {"Q4_0", 2, "Q4_0"},      {"Q4_1", 3, "Q4_1"},    {"Q5_0", 8, "Q5_0"},
    {"Q5_1", 9, "Q5_1"},      {"Q8_0", 7, "Q8_0"},    {"Q2_K", 10, "Q2_K"},
    {"Q3_K_S", 11, "Q3_K"},   {"Q3_K_M", 12, "Q3_K"}, {"Q3_K_L", 13, "Q3_K"},
    {"Q4_K_S", 14, "Q4_K"},   {"Q4_K_M", 15, "Q4_K"}, {"Q5_K_S", 16, "Q5_K"},
    {"Q5_K_M", 17, "Q5_K"},   {"Q6_K", 18, "Q6_K"},   {"IQ4_NL", 25, "IQ4_NL"},
    {"IQ4_XS", 30, "IQ4_XS"},
};

const Mix& find_mix(const std::string& name) {
    const auto* found = std::ranges::find(kMixes, name, &Mix::name);
    if (found != std::end(kMixes)) return *found;
    throw std::runtime_error(fmt::format("'{}' is no known quantisation; known: {}", name,
                                         fmt::join(quant_mixes(), ", ")));
}

// The first and last eighth of the layers, and every third between.
bool more_bits(int layer, int layers) {
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

std::string value_type(std::string_view mix, const std::string& base, const ModelShape& s,
                       int layer) {
    const bool grouped = s.heads / s.kv_heads >= 4;
    if (s.experts == 8) return "Q8_0";
    if (mix == "Q2_K") return grouped ? "Q4_K" : "Q3_K";
    if (mix == "Q3_K_M") return layer < 2 ? "Q5_K" : "Q4_K";
    if (mix == "Q3_K_L") return "Q5_K";
    if (mix == "IQ4_NL" || mix == "IQ4_XS") return grouped ? "Q5_K" : base;
    if (mix == "Q4_K_M" || mix == "Q5_K_M") return more_bits(layer, s.layers) ? "Q6_K" : base;
    if (mix == "Q4_K_S") return layer < 4 ? "Q5_K" : base;
    return base;
}

std::string down_type(std::string_view mix, const std::string& base, const ModelShape& s,
                      int layer) {
    const bool early = layer < s.layers / 8;
    if (mix == "Q2_K") return "Q3_K";
    if (mix == "Q3_K_M") return layer < s.layers / 16 ? "Q5_K" : "Q4_K";
    if (mix == "Q3_K_L") return "Q5_K";
    if (mix == "Q4_K_M" || mix == "Q5_K_M") return more_bits(layer, s.layers) ? "Q6_K" : base;
    if (mix == "IQ4_NL" || mix == "IQ4_XS" || mix == "Q4_K_S") return early ? "Q5_K" : base;
    return base;
}

std::string output_type(std::string_view mix, const std::string& base, const ModelShape& s) {
    const bool k_quant = mix.find("_K") != mix.npos;
    if (k_quant && s.experts == 8 &&
        (mix.starts_with("Q2") || mix.starts_with("Q3_K_S") || mix.starts_with("Q3_K_M") ||
         mix.starts_with("Q4")))
        return "Q5_K";
    if (s.experts == 8 && mix.starts_with("IQ4")) return "Q5_K";
    if (mix == "Q2_K") return "Q3_K";
    if (mix == "Q3_K_M") return "Q4_K";
    if (mix == "Q3_K_L") return "Q5_K";
    return base;
}

// For rows that are no whole number of 256-blocks, then of 32-blocks.
std::string that_divides(const std::string& type, int64_t cols) {
    if (cols % find_quant(type)->block_elems == 0) return type;
    if (cols % 32 != 0) return "F16";
    if (type == "Q4_K") return "Q5_0";
    if (type == "Q5_K") return "Q5_1";
    if (type == "Q6_K") return "Q8_0";
    return "IQ4_NL";
}

}  // namespace

std::vector<std::string> quant_mixes() {
    std::vector<std::string> names;
    for (const Mix& mix : kMixes) names.push_back(mix.name);
    return names;
}

int64_t file_type_of(const std::string& mix) { return find_mix(mix).file_type; }

uint32_t mixed_type(const std::string& mix, const ModelShape& shape, const ShapedTensor& tensor) {
    const std::string base = find_mix(mix).base;
    if (!tensor.quantised) return find_quant("F32")->ggml_type;
    if (find_quant(base)->block_elems == 1) return find_quant(base)->ggml_type;
    const auto is = [&](const char* part) { return tensor.name.find(part) != std::string::npos; };
    const bool logits = tensor.name == (shape.tied ? "token_embd.weight" : "output.weight");
    std::string type = base;
    if (logits)
        type = base == "Q8_0" ? base : "Q6_K";
    else if (is("attn_v.") || is("attn_qkv."))
        type = value_type(mix, base, shape, tensor.layer);
    else if (is("attn_k.") && shape.experts == 8)
        type = "Q8_0";
    else if (is("ffn_down"))
        type = down_type(mix, base, shape, tensor.layer);
    else if (is("attn_output."))
        type = output_type(mix, base, shape);
    return find_quant(that_divides(type, tensor.dims[0]))->ggml_type;
}

}  // namespace hetune
