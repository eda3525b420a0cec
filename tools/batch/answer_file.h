// The output of a batch, to which one line after the other is appended. What stands there at the
// start is kept: a batch goes on where the last one ended, whatever ended it.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "cache/temp_file.h"

namespace hetune {

class AnswerFile {
  public:
    // Makes the file where there is none, and keeps other processes from writing to it. A last line
    // that a killed process left torn is cut off. Throws std::runtime_error that names the file:
    // where another process writes to it, and for a line that is no answer of a batch, which is
    // left as it is. A pipe or a device, as /dev/stdout, is only written to.
    explicit AnswerFile(const std::string& name);

    // By custom_id: whether the answer is one, rather than an error.
    const std::unordered_map<std::string, bool>& found() const { return found_; }

    // Any thread. One line with its '\n', by one write. Throws std::system_error that names the
    // file where the line does not fit; the file is as before then.
    void add(const std::string& line);
    // Behind the last line. Throws std::system_error where the disk did not take all of it.
    void finish();

  private:
    void read();

    std::string name_;
    FileHandle file_;
    bool is_regular_ = true;
    std::unordered_map<std::string, bool> found_;
    std::mutex mutex_;
    int64_t size_ = 0;  // of whole lines
};

}  // namespace hetune
