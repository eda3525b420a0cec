// Code objects, keys and options for the tests of the cache.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache/code_object.h"
#include "cache/key.h"
#include "cache/options.h"

namespace hetune {

inline CacheKey sample_key(int number) {
    return make_key({.source = std::to_string(number),
                     .options = "-O3",
                     .arch = "gfx1100",
                     .compiler = "test 1"});
}

// Differs for each number, and is what `sample_key(number)` should always give.
inline CodeObject sample_object(int number, size_t bytes = 300) {
    CodeObject code;
    for (size_t i = 0; i < bytes; ++i)
        code.bytes.push_back(static_cast<std::byte>((i * 31 + static_cast<size_t>(number)) & 0xff));
    code.entry = "kernel_" + std::to_string(number);
    code.resources = {.vgprs = 24,
                      .sgprs = 16,
                      .lds_bytes = 1024,
                      .scratch_bytes = 0,
                      .spilled_vgprs = 0,
                      .spilled_sgprs = 0,
                      .max_threads = 256,
                      .code_bytes = 128};
    code.compile_ms = 70.5;
    return code;
}

inline KeyParts sample_parts(int number) {
    return {{"template", "gemv"}, {"arch", "gfx1100"}, {"kRows", std::to_string(number)}};
}

// Collects what a store says.
class Warnings {
  public:
    WarnFunction function() {
        return [lines = lines_](const std::string& line) {
            const std::scoped_lock lock(lines->mutex);
            lines->list.push_back(line);
        };
    }
    std::vector<std::string> list() const {
        const std::scoped_lock lock(lines_->mutex);
        return lines_->list;
    }

  private:
    struct Lines {
        std::mutex mutex;
        std::vector<std::string> list;
    };
    std::shared_ptr<Lines> lines_ = std::make_shared<Lines>();
};

}  // namespace hetune
