// A fuzz target: a parser of hetune that must take any bytes. It may throw the exceptions that its
// header names and no other; it must not crash, hang, or take memory that the input only claims.
//
// All targets are in two programs: hetune_fuzz, which libFuzzer drives (run.sh, clang), and
// fuzz_regressions_test, which runs each seed and each file of regressions/TARGET once (any
// compiler).
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace hetune::fuzz {

struct Target {
    std::string name;
    void (*run)(std::string_view input);
    std::vector<std::string> (*seeds)();  // good inputs to start from
};

std::vector<Target>& targets();

struct RegisterTarget {
    explicit RegisterTarget(Target target) { targets().push_back(std::move(target)); }
};

// Throws std::logic_error, which no target catches: a crash to libFuzzer.
inline void require(bool holds, const char* what) {
    if (!holds) throw std::logic_error(what);
}

// Runs `body`, which may throw an Error and nothing else.
template <class Error, class Body>
void may_throw(const Body& body) {
    try {
        body();
    } catch (const Error&) {
    }
}

// Takes the parts of an input that stands for several values.
class Input {
  public:
    explicit Input(std::string_view bytes) : bytes_(bytes) {}
    // 0 when nothing is left.
    unsigned byte() {
        if (bytes_.empty()) return 0;
        const auto value = static_cast<unsigned char>(bytes_[0]);
        bytes_.remove_prefix(1);
        return value;
    }
    // Up to the next `separator` or the end.
    std::string_view until(char separator) {
        const size_t at = bytes_.find(separator);
        const std::string_view part = bytes_.substr(0, at);
        bytes_.remove_prefix(at == bytes_.npos ? bytes_.size() : at + 1);
        return part;
    }
    std::string_view rest() const { return bytes_; }
    bool empty() const { return bytes_.empty(); }

  private:
    std::string_view bytes_;
};

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}
inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
// The content of a file; throws where there is none.
std::string file_content(const std::string& path);

// Files below this folder are this process's own and removed at its end.
const std::string& scratch_folder();
// Writes `content` into a file of the scratch folder; the same file each time.
std::string scratch_file(const std::string& name, std::string_view content);

}  // namespace hetune::fuzz
