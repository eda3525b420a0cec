#include "runtime/compile/worker_protocol.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace hetune {
namespace {

constexpr std::string_view kMagic = "HTW1";
constexpr uint32_t kMaxHeader = 1u << 20;
constexpr uint64_t kMaxBody = uint64_t{256} << 20;
constexpr size_t kPrefix = 4 + sizeof(uint32_t) + sizeof(uint64_t);

}  // namespace

std::string text_field(const WorkerMessage& message, const char* name) {
    const auto field = message.header.find(name);
    return field != message.header.end() && field->is_string() ? field->get<std::string>() : "";
}

std::string encode(const WorkerMessage& message) {
    const std::string header =
        message.header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    const auto header_bytes = static_cast<uint32_t>(header.size());
    const uint64_t body_bytes = message.body.size();
    if (header.size() > kMaxHeader || body_bytes > kMaxBody)
        throw ProtocolError(
            fmt::format("a message of {} + {} bytes is too long", header.size(), body_bytes));
    std::string bytes(kMagic);
    bytes.append(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
    bytes.append(reinterpret_cast<const char*>(&body_bytes), sizeof body_bytes);
    return bytes + header + message.body;
}

std::optional<WorkerMessage> MessageReader::take() {
    const std::string_view start(pending_.data(), std::min(pending_.size(), kMagic.size()));
    if (start != kMagic.substr(0, start.size())) throw ProtocolError("no message begins like this");
    if (pending_.size() < kPrefix) return std::nullopt;
    uint32_t header_bytes = 0;
    uint64_t body_bytes = 0;
    std::memcpy(&header_bytes, pending_.data() + 4, sizeof header_bytes);
    std::memcpy(&body_bytes, pending_.data() + 8, sizeof body_bytes);
    if (header_bytes > kMaxHeader || body_bytes > kMaxBody)
        throw ProtocolError(fmt::format("a message of {} + {} bytes", header_bytes, body_bytes));
    if (pending_.size() - kPrefix < header_bytes + body_bytes) return std::nullopt;

    WorkerMessage message;
    const std::string_view header = std::string_view(pending_).substr(kPrefix, header_bytes);
    message.header = nlohmann::json::parse(header, nullptr, /*allow_exceptions=*/false);
    if (!message.header.is_object()) throw ProtocolError("a header that is no JSON object");
    message.body = pending_.substr(kPrefix + header_bytes, body_bytes);
    pending_.erase(0, kPrefix + header_bytes + body_bytes);
    return message;
}

void send_message(int descriptor, const WorkerMessage& message) {
    const std::string bytes = encode(message);
    for (size_t sent = 0; sent < bytes.size();) {
        const ssize_t count = write(descriptor, bytes.data() + sent, bytes.size() - sent);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) throw std::runtime_error(fmt::format("write: {}", std::strerror(errno)));
        sent += static_cast<size_t>(count);
    }
}

std::optional<WorkerMessage> receive_message(int descriptor, MessageReader& reader) {
    char chunk[65536];
    for (;;) {
        if (auto message = reader.take()) return message;
        const ssize_t count = read(descriptor, chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw std::runtime_error(fmt::format("read: {}", std::strerror(errno)));
        if (count == 0) return std::nullopt;
        reader.feed({chunk, static_cast<size_t>(count)});
    }
}

}  // namespace hetune
