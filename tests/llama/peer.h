// llama.cpp in a root of its own, as a judge: run.sh names the program and a folder that both see.
#pragma once

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace hetune {

inline const char* environment(const char* name) {
    const char* value = std::getenv(name);
    REQUIRE_MESSAGE(value != nullptr, "run tests/llama/run.sh instead");
    return value;
}

inline std::string in_folder(const std::string& name) {
    return std::filesystem::path(environment("HETUNE_LLAMA_FOLDER")) / name;
}

inline bool peer(const std::string& arguments) {
    return std::system((std::string(environment("HETUNE_LLAMA_PEER")) + " " + arguments).c_str()) ==
           0;
}

template <class T>
void write_array(const std::string& path, const std::vector<T>& values) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(T)));
}

template <class T>
std::vector<T> read_array(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

// float32 logits of every token.
inline std::vector<float> logits_of_peer(const std::string& model,
                                         const std::vector<int32_t>& tokens) {
    write_array(in_folder("tokens"), tokens);
    REQUIRE(peer(fmt::format("logits {} {} {}", model, in_folder("tokens"), in_folder("logits"))));
    return read_array<float>(in_folder("logits"));
}

}  // namespace hetune
