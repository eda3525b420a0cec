#include "cache/blake2b.h"

#include <fmt/format.h>

namespace hetune {

std::string hex(const Blake2bHash& hash) {
    std::string text;
    for (const unsigned char byte : hash) text += fmt::format("{:02x}", byte);
    return text;
}

}  // namespace hetune
