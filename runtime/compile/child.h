// A program run as a child: text in, text out, with a time limit. Compilers are not trusted with
// our process: they abort, hang and eat memory.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace hetune {

struct ChildResult {
    int exit_code = -1;      // -1: ended by a signal, or never started
    int signal = 0;
    bool timed_out = false;  // it was killed
    std::string output;      // stdout
    std::string errors;      // stderr
    bool ok() const { return exit_code == 0; }
    // "exit code 1", "signal 6 (Aborted)", "no answer in 120 s; killed"
    std::string outcome;
};

// Runs program `argv[0]` (a path) with a clean environment (PATH, TMPDIR and LC_ALL=C only: what
// else a compiler reads would change its output behind the cache key's back). The child dies with
// this process. Safe to call from several threads.
ChildResult run_child(const std::vector<std::string>& argv, const std::string& input,
                      std::chrono::milliseconds limit);

// A folder of its own below TMPDIR, removed with what is in it.
class TempFolder {
  public:
    TempFolder();  // throws std::runtime_error
    ~TempFolder();
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_;
};

}  // namespace hetune
