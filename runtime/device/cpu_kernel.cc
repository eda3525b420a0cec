#include "runtime/device/cpu_kernel.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "cache/scratch_folder.h"
#include "runtime/compile/compiler_end.h"
#include "runtime/device/device.h"

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

class File {
  public:
    explicit File(int number) : number_(number) {}
    ~File() {
        if (number_ >= 0) close(number_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    int get() const { return number_; }

  private:
    int number_;
};

// A path of an open file that no other call gave. dlopen takes an equal path for the same library,
// and numbers of files come again; so the path says how often it was asked for, in zeros "/" and
// ones "./", which the kernel skips.
std::string path_of(int file) {
    static std::atomic<uint64_t> calls = 0;
    std::string path = "/proc/self/fd/";
    for (uint64_t call = ++calls; call != 0; call >>= 1) path += (call & 1) != 0 ? "./" : "/";
    return path + std::to_string(file);
}

// dlopen wants a file; an anonymous one needs no folder and leaves nothing behind. Null, with the
// reason in `why`, where it cannot be loaded.
void* load_from_memory(std::span<const std::byte> object, std::string& why) {
    const File file(memfd_create("hetune-kernel", MFD_CLOEXEC));
    if (file.get() < 0 || !write_all(file.get(), object)) {
        why = fmt::format("cannot hold it in memory: {}", std::strerror(errno));
        return nullptr;
    }
    void* handle = dlopen(path_of(file.get()).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) why = dlerror();
    return handle;
}

// Where there is no /proc: from a temporary folder, one that does not forbid programs (noexec).
void* load_from_folder(std::span<const std::byte> object, std::string& why) {
    for (const auto& place : ScratchFolder::places({})) try {
            const ScratchFolder folder(ScratchFolder::In{place});
            const std::string path = folder.path() + "/kernel";
            const File file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700));
            if (file.get() < 0 || !write_all(file.get(), object)) continue;
            if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
            why += fmt::format("; {}", dlerror());
        } catch (const std::system_error& error) {
            why += fmt::format("; {}", error.what());
        }
    return nullptr;
}

}  // namespace

CpuKernel::CpuKernel(std::span<const std::byte> object, const std::string& name) {
    std::string why;
    handle_ = load_from_memory(object, why);
    if (handle_ == nullptr && access("/proc/self/fd", X_OK) != 0)
        handle_ = load_from_folder(object, why);
    if (handle_ != nullptr) {
        entry_.call = reinterpret_cast<HetuneCpuEntry>(dlsym(handle_, "hetune_cpu_entry"));
        const auto* only = static_cast<const int*>(dlsym(handle_, "hetune_cpu_first_lane_only"));
        entry_.first_lane_only = only != nullptr && *only != 0;
        if (entry_.call != nullptr) return;
        dlclose(handle_);
        why = "it has no hetune_cpu_entry; was it compiled for another target?";
    }
    // A limit of the shell has its advice (`ulimit -n`, `-f`, `-v`).
    const CompilerEnd end = read_compiler_log(why);
    throw DeviceError(fmt::format("cpu: loading {}: {}", name,
                                  end.cause == CompileError::Cause::kCrash ? why : end.line));
}

CpuKernel::~CpuKernel() { dlclose(handle_); }

}  // namespace hetune
