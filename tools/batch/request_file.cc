#include "tools/batch/request_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>

#include "cache/json_text.h"
#include "tools/batch/line_reader.h"
#include "tools/batch/request.h"

namespace hetune {
namespace {

[[noreturn]] void cannot_read(const std::string& name) {
    if (errno == EISDIR) throw std::runtime_error(name + ": is a folder");
    throw std::runtime_error(fmt::format("{}: cannot be read: {}", name, std::strerror(errno)));
}

// A pipe can be read only once, and the requests are read twice: memory takes its place.
FileHandle copy_in_memory(const FileHandle& pipe, const std::string& name) {
    FileHandle copy(memfd_create("requests", MFD_CLOEXEC));
    if (!copy) cannot_read(name);
    std::vector<std::byte> piece(1 << 16);
    for (;;) {
        const ssize_t got = read(pipe.get(), piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) cannot_read(name);
        if (got == 0) return copy;
        write_all(copy, std::span(piece).first(static_cast<size_t>(got)), name);
    }
}

FileHandle open_requests(const std::string& name) {
    FileHandle file(name == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                : open(name.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info = {};
    if (!file || fstat(file.get(), &info) != 0) cannot_read(name == "-" ? "stdin" : name);
    if (S_ISREG(info.st_mode)) return file;
    return copy_in_memory(file, name == "-" ? "stdin" : name);
}

}  // namespace

RequestFile::RequestFile(const std::string& name)
    : name_(name == "-" ? "stdin" : name), file_(open_requests(name)) {
    LineReader reader(file_);
    RequestLine line;
    while (const std::optional<std::string_view> text = reader.next()) {
        ++line.number;
        line.bytes = std::ssize(*text);
        if (text->find_first_not_of(" \t\r\n") != text->npos) add(*text, line);
        line.offset += line.bytes;
    }
    if (reader.failed()) cannot_read(name_);
}

void RequestFile::add(std::string_view text, RequestLine line) {
    const auto fail = [&](std::string_view why) {
        throw std::runtime_error(
            fmt::format("{}: line {}: {}; each line is one request, as {{\"custom_id\": \"1\", "
                        "\"method\": \"POST\", \"url\": \"{}\", \"body\": {{...}}}}",
                        name_, line.number, why, kChatUrl));
    };
    try {
        const auto request = parse_json(text, kRequestDepth);
        line.custom_id = json_value<std::string>(request, "custom_id");
        has_chats_ |= request.value("url", nlohmann::ordered_json()) == kChatUrl;
    } catch (const std::runtime_error& error) {
        fail(error.what());
    }
    if (line.custom_id.empty()) fail("its 'custom_id' is empty");
    const auto [known, is_new] = number_of_.emplace(line.custom_id, line.number);
    if (!is_new)
        throw std::runtime_error(fmt::format(
            "{}: lines {} and {} have the same custom_id '{}'; answers are tied to requests by "
            "it, so give each line one of its own",
            name_, known->second, line.number, line.custom_id));
    lines_.push_back(std::move(line));
}

nlohmann::ordered_json RequestFile::request(const RequestLine& line) const {
    std::string text(static_cast<size_t>(line.bytes), '\0');
    size_t filled = 0;
    while (filled < text.size()) {
        const ssize_t got = pread(file_.get(), text.data() + filled, text.size() - filled,
                                  line.offset + static_cast<int64_t>(filled));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) cannot_read(name_);
        if (got == 0) break;
        filled += static_cast<size_t>(got);
    }
    try {
        auto request = parse_json(text, kRequestDepth);
        if (json_value<std::string>(request, "custom_id") == line.custom_id) return request;
    } catch (const std::runtime_error&) {
    }
    throw std::runtime_error(
        fmt::format("{}: line {} has changed since the batch began; start it "
                    "again when the file is complete",
                    name_, line.number));
}

}  // namespace hetune
