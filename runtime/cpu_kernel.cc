#include "runtime/cpu_kernel.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/device.h"

namespace hetune {
namespace {

bool write_all(int file, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t n = write(file, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return true;
}

}  // namespace

// dlopen wants a file; an anonymous one needs no folder and leaves nothing behind. It stays open as
// long as the kernel is loaded: dlopen takes an equal path for the same library, so the number must
// not go to the next kernel.
CpuKernel::CpuKernel(std::span<const std::byte> object, const std::string& name)
    : file_(memfd_create("hetune-kernel", MFD_CLOEXEC)) {
    std::string why;
    if (file_ < 0 || !write_all(file_, object)) {
        why = fmt::format("cannot hold it in memory: {}", std::strerror(errno));
    } else {
        handle_ = dlopen(fmt::format("/proc/self/fd/{}", file_).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle_ == nullptr)
            why = dlerror();
        else if (void* symbol = dlsym(handle_, "hetune_cpu_entry"))
            entry_ = reinterpret_cast<HetuneCpuEntry>(symbol);
        else
            why = "it has no hetune_cpu_entry; was it compiled for another target?";
    }
    if (entry_ != nullptr) return;
    if (handle_ != nullptr) dlclose(handle_);
    if (file_ >= 0) close(file_);
    throw DeviceError(fmt::format("cpu: loading {}: {}", name, why));
}

CpuKernel::~CpuKernel() {
    dlclose(handle_);
    close(file_);
}

}  // namespace hetune
