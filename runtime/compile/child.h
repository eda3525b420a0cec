// A program run as a child (child_process.h): text in, text out, with a time limit. Compilers are
// not trusted with our process: they abort, hang and eat memory.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace hetune {

struct ChildResult {
    int exit_code = -1;  // -1: ended by a signal, or never started
    int signal = 0;
    bool timed_out = false;  // it was killed
    std::string output;      // stdout
    std::string errors;      // stderr
    bool ok() const { return exit_code == 0; }
    // "exit code 1", "signal 6 (Aborted)", "no answer in 120 s; killed"
    std::string outcome;
};

// Runs program `argv[0]`, a path. Safe to call from several threads. Throws std::runtime_error
// when there can be no further process.
ChildResult run_child(const std::vector<std::string>& argv, const std::string& input,
                      std::chrono::milliseconds limit);

// A folder of its own below TMPDIR, removed with what is in it.
class ScratchFolder {
  public:
    ScratchFolder();  // throws std::runtime_error
    ~ScratchFolder();
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace hetune
