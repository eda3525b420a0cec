// The whole content of a small file: a text, a template, a list.
#pragma once

#include <filesystem>
#include <string>

namespace hetune {

// Throws std::runtime_error that names the path and the reason: "x: is a folder". A pipe is read to
// its end, so that `<(command)` of a shell can be given.
std::string read_file(const std::filesystem::path& path);

}  // namespace hetune
