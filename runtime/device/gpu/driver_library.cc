#include "runtime/device/gpu/driver_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>

#include <filesystem>
#include <fstream>

#include "runtime/device/device.h"

namespace hetune {

DriverLibrary::DriverLibrary(const std::vector<std::string>& files, const std::string& install) {
    std::string broken;
    for (const std::string& file : files) {
        handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle_ != nullptr) {
            file_ = file;
            return;
        }
        if (std::error_code ignored; broken.empty() && std::filesystem::exists(file, ignored))
            broken = dlerror();
    }
    if (!broken.empty()) throw DeviceError("cannot load " + broken);
    throw DeviceError(fmt::format("no {}; {}", files.front(), install));
}

void DriverLibrary::require_all(const std::string& needed_version) const {
    if (!missing_.empty())
        throw DeviceError(
            fmt::format("{} lacks {}; {}", file_, fmt::join(missing_, ", "), needed_version));
}

std::string kernel_driver(const std::string& module) {
    std::ifstream file(fmt::format("/sys/module/{}/version", module));
    if (std::string version; file >> version) return fmt::format("{} {}", module, version);
    utsname kernel{};
    uname(&kernel);
    return fmt::format("{} {}", kernel.sysname, kernel.release);
}

void* DriverLibrary::address(const char* symbol) const { return dlsym(handle_, symbol); }

}  // namespace hetune
