// What a compile worker and its parent say to each other: one message each way, in turn.
//
// A message is "HTW1", header bytes (u32), body bytes (u64), both little endian, then the header
// (a JSON object) and the body (raw bytes).
//
// Request: {"do": "compile" or "describe", "entry", "arch", "options": [...]} and the source.
// Answer to compile: {"status": "done", "log"} and the object. To describe, which compiles too:
// {"status": "done", "version", "loaded": [paths of the libraries that the compile used]}. To both:
// {"status": "failed", "error", "log"} where the source is refused,
// {"status": "broke", "error", "log"} where the library itself failed, and
// {"status": "unavailable", "error"} where the library cannot be opened.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace hetune {

struct WorkerMessage {
    nlohmann::json header;
    std::string body;
};

// A field of the header; empty where it is missing or no text. The sender is not trusted.
std::string text_field(const WorkerMessage& message, const char* name);

// Bytes that are no message, or one beyond the limits (1 MiB of header, 256 MiB of body).
class ProtocolError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

std::string encode(const WorkerMessage& message);

// Takes bytes as they come and gives messages.
class MessageReader {
  public:
    void feed(std::string_view bytes) { pending_ += bytes; }
    std::optional<WorkerMessage> take();  // throws ProtocolError

  private:
    std::string pending_;
};

// Blocking, over file descriptors; for the worker's side. `receive_message` gives nothing at the
// end of the stream. Both throw std::runtime_error, or ProtocolError.
void send_message(int descriptor, const WorkerMessage& message);
std::optional<WorkerMessage> receive_message(int descriptor, MessageReader& reader);

}  // namespace hetune
