// Copies of a model file with some bytes of a tensor changed.
#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "planner/file/model_file.h"

namespace hetune {

// Writes `to`: the file `from`, in which `change` got the bytes of one tensor.
inline std::string with_changed_tensor(const std::string& from, const std::string& tensor,
                                       const std::string& to,
                                       const std::function<void(std::span<char>)>& change) {
    std::ifstream file(from, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const ModelFile model(from);
    const std::span<const std::byte> data = model.tensor(tensor).data;
    const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
    const size_t at = bytes.find(text);  // the offset is the model file's own affair
    REQUIRE(at != std::string::npos);
    change(std::span(bytes).subspan(at, text.size()));
    std::ofstream(to, std::ios::binary) << bytes;
    return to;
}

}  // namespace hetune
