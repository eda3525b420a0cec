// The error of everything that reads a model file.
#pragma once

#include <stdexcept>
#include <string>

namespace hetune {

// A broken or unsupported model file. The message names the file and the field or tensor, and is
// one line: control characters, which a file may put into its names, are replaced.
class ModelError : public std::runtime_error {
  public:
    explicit ModelError(std::string message);
};

}  // namespace hetune
