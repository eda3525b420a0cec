// The input of a batch: one request a line, as OpenAI's batch files have them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cache/temp_file.h"

namespace hetune {

// Where a request stands. Its text stays in the file, which may be larger than memory.
struct RequestLine {
    std::string custom_id;
    int64_t number = 0;  // of the line, from 1
    int64_t offset = 0, bytes = 0;
};

class RequestFile {
  public:
    // Reads the whole file once; "-" is stdin. Blank lines are skipped. Throws std::runtime_error
    // that names file and line for a line without a custom_id, which no answer could be tied to,
    // and for the second line with a custom_id.
    explicit RequestFile(const std::string& name);

    const std::vector<RequestLine>& lines() const { return lines_; }
    bool has(const std::string& custom_id) const { return number_of_.contains(custom_id); }
    bool has_chats() const { return has_chats_; }
    // A request, read again. Any thread. Throws std::runtime_error where the file has changed since
    // it was opened.
    nlohmann::ordered_json request(const RequestLine& line) const;

  private:
    void add(std::string_view text, RequestLine line);

    std::string name_;  // for messages
    FileHandle file_;
    std::vector<RequestLine> lines_;
    bool has_chats_ = false;
    std::unordered_map<std::string, int64_t> number_of_;  // the line of a custom_id
};

}  // namespace hetune
