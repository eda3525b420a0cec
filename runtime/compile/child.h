// A program run as a child (child_process.h): text in, text out, with a time limit. Compilers are
// not trusted with our process: they abort, hang and eat memory.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "cache/scratch_folder.h"

namespace hetune {

struct ChildResult {
    int exit_code = -1;  // -1: ended by a signal, or never started
    int signal = 0;
    bool timed_out = false;  // it was killed
    bool given_up = false;   // it was killed, since the caller asked for that
    std::string output;      // stdout
    std::string errors;      // stderr
    bool ok() const { return exit_code == 0; }
    // "exit code 1", "signal 6 (Aborted)", "no answer in 120 s; killed"
    std::string outcome;
};

// Runs program `argv[0]`, a path; its TMPDIR is `temp_folder`. Safe to call from several threads.
// `given_up` is asked about ten times a second; true kills the child. Throws std::system_error when
// there can be no further process.
ChildResult run_child(const std::vector<std::string>& argv, const std::string& input,
                      std::chrono::milliseconds limit, const std::string& temp_folder,
                      const std::function<bool()>& given_up = {});

}  // namespace hetune
