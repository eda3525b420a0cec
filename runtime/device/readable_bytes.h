#pragma once

#include <cstdint>
#include <string>

namespace hetune {

std::string readable_bytes(int64_t bytes);  // "4.5 MiB"

}  // namespace hetune
