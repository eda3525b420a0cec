#include "runtime/compile/worker/library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <sstream>

namespace hetune::worker {

std::vector<LibraryKind>& library_kinds() {
    static std::vector<LibraryKind> kinds;
    return kinds;
}

RegisterLibrary::RegisterLibrary(LibraryKind kind) { library_kinds().push_back(std::move(kind)); }

SharedObject::SharedObject(const std::string& path)
    : path_(path), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
}

void* SharedObject::symbol(const char* name) const {
    void* found = dlsym(handle_, name);
    if (found == nullptr) throw std::runtime_error(fmt::format("{} has no {}", path_, name));
    return found;
}

std::string first_error(const std::string& log) {
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);)
        if (line.find("error") != std::string::npos || line.find("LLVM ERROR") != std::string::npos)
            return line;
    return log.substr(0, log.find('\n'));
}

}  // namespace hetune::worker
