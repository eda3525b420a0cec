// Which type each tensor gets when a model is quantised as "Q4_K_M": the rules of llama.cpp's
// quantiser (llama-quant.cpp, without importance matrix).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/synth/model_shape.h"

namespace hetune {

std::vector<std::string> quant_mixes();
// general.file_type. Throws std::runtime_error that lists the known mixes.
int64_t file_type_of(const std::string& mix);
uint32_t mixed_type(const std::string& mix, const ModelShape& shape, const ShapedTensor& tensor);

}  // namespace hetune
