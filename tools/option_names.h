// Errors of the library name options as C++ does, "ModelOptions::context"; a user of the command
// knows them as "--ctx".
#pragma once

#include <string>

namespace hetune {

// The same text with the command's names: `ModelOptions::kv_type = "bf16"` becomes `--kv bf16`.
std::string with_option_names(std::string text);

}  // namespace hetune
