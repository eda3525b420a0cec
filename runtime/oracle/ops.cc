#include "runtime/oracle/ops.h"

#include "kernel_templates/quant/registry.h"
#include "runtime/oracle/primitives.h"

namespace hetune {

std::span<float> OracleStep::out(ValueId id) const {
    auto& value = values[static_cast<size_t>(id)];
    value.resize(static_cast<size_t>(rows() * width(id)));
    return value;
}

// Kernels take activations in 8 bits where every weight that they multiply with them allows it.
std::vector<float> OracleStep::factor(std::span<const float> x,
                                      std::initializer_list<ops::Weight> weights) const {
    std::vector<float> rounded(x.begin(), x.end());
    for (const ops::Weight& of : weights) {
        const QuantFormat* format = find_quant(weight(of).ggml_type);
        if (!rounding.activations || format == nullptr || !format->integer ||
            rounding.halves.contains(of.name))
            return rounded;
    }
    reference::round_to_8_bits(rounded, 32);
    return rounded;
}

}  // namespace hetune
