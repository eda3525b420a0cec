// Files of requests and of answers, for tests of `hetune batch`.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/tools/hetune_command.h"

namespace hetune {

using Json = nlohmann::ordered_json;

inline std::string text_of(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
}

inline std::string request_line(const std::string& custom_id, const std::string& url,
                                const Json& body) {
    return Json{{"custom_id", custom_id}, {"method", "POST"}, {"url", url}, {"body", body}}.dump() +
           "\n";
}

inline std::string completion(const std::string& custom_id, const Json& body) {
    return request_line(custom_id, "/v1/completions", body);
}

inline std::string chat(const std::string& custom_id, const Json& body) {
    return request_line(custom_id, "/v1/chat/completions", body);
}

// The lines of an output by custom_id; fails the test for one that stands twice, and for what is no
// whole line of JSON.
inline std::map<std::string, Json> answers_of(const std::filesystem::path& path) {
    const std::string text = text_of(path);
    REQUIRE((text.empty() || text.back() == '\n'));
    std::map<std::string, Json> answers;
    size_t at = 0;
    while (at < text.size()) {
        const size_t end = text.find('\n', at);
        const Json line = Json::parse(text.substr(at, end - at));
        const auto [place, is_new] = answers.emplace(line.at("custom_id"), line);
        CHECK_MESSAGE(is_new, "stands twice: ", place->first);
        at = end + 1;
    }
    return answers;
}

// The text of each answer; that of an error is its message.
inline std::map<std::string, std::string> texts_of(const std::filesystem::path& path) {
    std::map<std::string, std::string> texts;
    for (const auto& [id, line] : answers_of(path)) {
        const Json& body = line.at("response").at("body");
        if (line.at("response").at("status_code") != 200)
            texts[id] = body.at("error").at("message");
        else if (body.at("object") == "chat.completion")
            texts[id] = body.at("choices").at(0).at("message").at("content");
        else
            texts[id] = body.at("choices").at(0).at("text");
    }
    return texts;
}

}  // namespace hetune
