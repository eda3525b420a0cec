// How the text between two special tokens becomes ids, and an id bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hetune {

// Constant after construction: any number of threads may call it.
class SubwordModel {
  public:
    virtual ~SubwordModel() = default;
    // Appends the ids of `text`: any bytes, valid UTF-8 or not.
    virtual void encode(std::string_view text, std::vector<int32_t>& ids) const = 0;
    // The bytes that a normal or byte token stands for: perhaps part of a character.
    virtual std::string bytes(int32_t id) const = 0;
};

}  // namespace hetune
