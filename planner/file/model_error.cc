#include <algorithm>

#include "planner/file/errors.h"

namespace hetune {
namespace {

constexpr size_t kMost = 2000;

}  // namespace

ModelError::ModelError(std::string message)
    : std::runtime_error([&] {
          // Names in a damaged file can be of any length.
          if (message.size() > kMost) message = message.substr(0, kMost) + " ...";
          std::ranges::replace_if(
              message, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
          return message;
      }()) {}

}  // namespace hetune
