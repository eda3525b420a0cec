// A compiler library, opened in a worker process. Implementations register themselves: nvrtc.cc,
// hiprtc.cc, comgr.cc. They declare what they call, so that no vendor header is needed to build.
#pragma once

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace hetune::worker {

struct Source {
    std::string entry;
    std::string arch;
    std::vector<std::string> options;
    std::string text;
};

struct Compiled {
    std::string object;
    std::string log;
};

// The library made no object; what() is one line, log() all it said. `of_source`: its status says
// that compiling failed. Any other status (no memory, an internal error) is of the library.
class Refused : public std::runtime_error {
  public:
    Refused(bool of_source, const std::string& line, std::string log)
        : std::runtime_error(line), of_source_(of_source), log_(std::move(log)) {}
    bool of_source() const { return of_source_; }
    const std::string& log() const { return log_; }

  private:
    bool of_source_;
    std::string log_;
};

class Library {
  public:
    virtual ~Library() = default;
    virtual std::string version() = 0;
    virtual Compiled compile(const Source& source) = 0;  // throws Refused
};

struct LibraryKind {
    std::string name;  // "nvrtc"
    // Throws std::runtime_error with what dlopen or dlsym said.
    std::function<std::unique_ptr<Library>(const std::string& path)> open;
};
std::vector<LibraryKind>& library_kinds();
struct RegisterLibrary {
    explicit RegisterLibrary(LibraryKind kind);
};

// A library and its functions. It is never closed: LLVM does not survive that.
class SharedObject {
  public:
    explicit SharedObject(const std::string& path);

    template <class Function>
    void find(Function*& function, const char* name) const {
        function = reinterpret_cast<Function*>(symbol(name));
    }

  private:
    void* symbol(const char* name) const;
    std::string path_;
    void* handle_;
};

// The first line of a compiler's log that tells of an error, else its first line.
std::string first_error(const std::string& log);

}  // namespace hetune::worker
