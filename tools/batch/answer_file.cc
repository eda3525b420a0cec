#include "tools/batch/answer_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "cache/json_text.h"
#include "tools/batch/answer.h"
#include "tools/batch/line_reader.h"
#include "tools/batch/request.h"

namespace hetune {
namespace {

[[noreturn]] void fail_for(const std::string& name, const std::string& why) {
    throw std::runtime_error(fmt::format("{}: {}", name, why));
}

// The part of a line that a killed process has written, be it empty.
bool is_torn(std::string_view text) {
    return text.starts_with(kAnswerStart) || kAnswerStart.starts_with(text);
}

}  // namespace

AnswerFile::AnswerFile(const std::string& name) : name_(name) {
    struct stat info = {};
    is_regular_ = stat(name.c_str(), &info) != 0 || S_ISREG(info.st_mode);
    const int access = is_regular_ ? O_RDWR | O_CREAT | O_APPEND : O_WRONLY;
    file_ = FileHandle(open(name.c_str(), access | O_CLOEXEC, 0666));
    if (!file_) {
        if (errno == EISDIR) fail_for(name, "is a folder");
        fail_for(name, fmt::format("cannot be opened: {}", std::strerror(errno)));
    }
    if (!is_regular_) return;
    // A file system without locks leaves it to the user that one process writes.
    while (flock(file_.get(), LOCK_EX | LOCK_NB) != 0 && errno != ENOLCK && errno != EOPNOTSUPP) {
        if (errno == EWOULDBLOCK)
            fail_for(name,
                     "another process writes to this file; wait for its end, or give -o "
                     "another file");
        if (errno != EINTR)
            fail_for(name, fmt::format("cannot be locked: {}", std::strerror(errno)));
    }
    read();
}

void AnswerFile::read() {
    LineReader reader(file_);
    int64_t number = 0;
    while (const std::optional<std::string_view> line = reader.next()) {
        ++number;
        const auto refuse = [&](std::string_view why) {
            fail_for(name_, fmt::format("line {} is no answer of a batch: {}; give -o another file",
                                        number, why));
        };
        if (!line->ends_with('\n')) {
            if (!is_torn(*line)) refuse("it begins otherwise");
            if (ftruncate(file_.get(), size_) != 0)
                fail_for(name_, fmt::format("its torn last line cannot be cut off: {}",
                                            std::strerror(errno)));
            return;
        }
        try {
            const auto answer = parse_json(*line, kRequestDepth);
            const auto response = answer.find("response");
            const bool good = response != answer.end() && response->is_object() &&
                              response->value("status_code", nlohmann::ordered_json()) == 200;
            found_[json_value<std::string>(answer, "custom_id")] = good;
        } catch (const std::runtime_error& error) {
            refuse(error.what());
        }
        size_ += std::ssize(*line);
    }
    if (reader.failed()) fail_for(name_, fmt::format("cannot be read: {}", std::strerror(errno)));
}

void AnswerFile::add(const std::string& line) {
    const std::lock_guard lock(mutex_);
    try {
        write_all(file_, std::as_bytes(std::span(line)), name_);
    } catch (const std::system_error&) {
        // Best effort: the next batch cuts a torn line off, too.
        [[maybe_unused]] const bool cut = is_regular_ && ftruncate(file_.get(), size_) == 0;
        throw;
    }
    size_ += std::ssize(line);
}

void AnswerFile::finish() {
    if (is_regular_ && fsync(file_.get()) != 0)
        throw std::system_error(errno, std::generic_category(), name_);
}

}  // namespace hetune
