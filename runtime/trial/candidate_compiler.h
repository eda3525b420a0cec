// Compiles the candidates of a sweep, target by target, while the device times those that are
// ready. A candidate that does not compile, or that the gates refuse, is no error: it is out.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "planner/tuning_targets.h"
#include "runtime/compile/kernel_library.h"

namespace hetune {

struct CompiledCandidate {
    std::vector<CodeObject> codes;  // of the kernels of its op, in the order of Plan::kernels
    std::string refused;            // why not; empty: it is ready
    double compile_ms = 0;          // of those that were not in the cache
    KernelResources resources;      // of the tuned kernel
};

class CandidateCompiler {
  public:
    // Starts at once. `library` is used by nobody else until this is destroyed; `targets` stay.
    CandidateCompiler(KernelLibrary& library, const std::vector<TuningTarget>& targets);
    // The destructor begins no further compile. It waits for compiles in progress, unless the
    // library gives them up (KernelLibrary::give_up_when).
    ~CandidateCompiler();

    // The compiled candidates of one target, in the order of the target's list. The call waits for
    // them. The result is empty once `over()` is true.
    std::optional<std::vector<CompiledCandidate>> get(size_t target,
                                                      const std::function<bool()>& over);
    // Waits until all candidates are compiled, or `over()` is true.
    void wait_for_all(const std::function<bool()>& over);

  private:
    void work(const std::stop_token& stop);
    std::vector<CompiledCandidate> compile(const TuningTarget& target);

    KernelLibrary& library_;
    const std::vector<TuningTarget>& targets_;
    mutable std::mutex mutex_;
    std::condition_variable ready_;
    std::vector<std::vector<CompiledCandidate>> results_;
    std::exception_ptr failure_;
    std::jthread thread_;
};

}  // namespace hetune
