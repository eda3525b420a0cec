// Lines of a file of any size, one at a time.
#pragma once

#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

#include "cache/temp_file.h"

namespace hetune {

// Moves the position of `file`.
class LineReader {
  public:
    // Reads from the beginning.
    explicit LineReader(const FileHandle& file) {
        lseek(file.get(), 0, SEEK_SET);
        stream_.reset(fdopen(dup(file.get()), "r"));
    }
    ~LineReader() { std::free(line_); }
    LineReader(const LineReader&) = delete;

    // With its '\n', which the last line may lack; valid until the next call. Empty at the end.
    std::optional<std::string_view> next() {
        if (stream_ == nullptr) return std::nullopt;
        errno = 0;
        const ssize_t bytes = getline(&line_, &room_, stream_.get());
        if (bytes < 0) return std::nullopt;
        return std::string_view(line_, static_cast<size_t>(bytes));
    }
    // Whether next() found an error in the place of the end; errno has it.
    bool failed() const { return stream_ == nullptr || ferror(stream_.get()) != 0; }

  private:
    struct Close {
        void operator()(FILE* file) const { fclose(file); }
    };
    std::unique_ptr<FILE, Close> stream_;
    char* line_ = nullptr;
    size_t room_ = 0;
};

}  // namespace hetune
