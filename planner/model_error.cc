#include <algorithm>

#include "planner/errors.h"

namespace hetune {

ModelError::ModelError(std::string message)
    : std::runtime_error([&] {
          std::ranges::replace_if(
              message, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
          return message;
      }()) {}

}  // namespace hetune
