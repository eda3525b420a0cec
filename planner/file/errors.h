// Every kind of error that the library throws, so that a caller can tell them apart. Installed
// beside hetune.h, which includes this file.
//
// what() is one line (MemoryError adds a table) that names the file, tensor, kernel or option, and
// says what to do.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace hetune {

// A broken or unsupported model file. The message names the file and the field or tensor, and is
// one line: control characters, which a file may put into its names, are replaced.
class ModelError : public std::runtime_error {
  public:
    explicit ModelError(std::string message);
};

// A call that asks for what cannot be: what() names the argument and what to do. Nothing has
// happened.
class RequestError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// An option of ModelOptions, Sampling or GenerateOptions with a value that it cannot have. The
// message begins with the option's name in C++: "ModelOptions::context is -5; ...".
class OptionError : public RequestError {
  public:
    using RequestError::RequestError;
};

// A prompt or a token that does not fit into what is left of the context.
class ContextError : public RequestError {
  public:
    using RequestError::RequestError;
};

// More calls wait for a Model than ModelOptions::most_waiting. The same call may succeed later.
class Overloaded : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// A refused call of a driver, or a device that is not there. Names the call, the status and what
// to do.
class DeviceError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// The device failed while a Model used it. Every further call of the Model throws this.
class DeviceLost : public DeviceError {
  public:
    using DeviceError::DeviceError;
};

// A model that does not fit into the memory there is.
// what(): one line, then a table, then what to do.
class MemoryError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Sequence::cancel() ended an append() or logits(). The tokens that were computed by then stay in
// the sequence.
class CallCancelled : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// ModelOptions::cancelled answered true while a model was loading. Kernels and weights that were
// ready by then are in the cache.
class LoadCancelled : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Logits that are NaN or infinite. Says where the first such value arose and what helps. The
// sequence is empty afterwards; Model and Sequence can be used again.
class NumberError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// A kernel that could not be compiled. what(): one line with kernel, arch, compiler and cause;
// log(): everything the compiler said.
class CompileError : public std::runtime_error {
  public:
    // Only kSource and kGate speak of the kernel; every other cause speaks of this machine, now.
    enum class Cause {
        kSource,       // the compiler itself said what is wrong with the source
        kGate,         // the object breaks a limit of the arch or a promise of its template
        kCrash,        // the compiler ended by a signal of its own, or made no sense
        kKilled,       // someone else ended the compiler; for lack of memory the kernel does
        kTimeout,      // no answer in time
        kOutOfMemory,  // the compiler said so
        kDiskFull,     // no space, a quota, or nothing may be written
        kLimit,        // of processes, open files, file size or processor time
        kNoCompiler,   // there is none, or it cannot be started
        kGivenUp,      // the caller did not want to wait any longer
    };
    CompileError(Cause cause, const std::string& line, std::string log = {})
        : std::runtime_error(line), cause_(cause), log_(std::move(log)) {}
    Cause cause() const { return cause_; }
    // True where the same compiler would say the same again: such a refusal may be stored.
    bool is_verdict() const { return cause_ == Cause::kSource || cause_ == Cause::kGate; }
    const std::string& log() const { return log_; }

  private:
    Cause cause_;
    std::string log_;
};

}  // namespace hetune
