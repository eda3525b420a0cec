#include "runtime/compile/environment.h"

#include <fmt/format.h>

#include <cstdlib>
#include <stdexcept>

#include "cache/options.h"

namespace hetune {
namespace {

std::string text(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
}

double seconds(const char* name, double fallback) {
    const std::string value = text(name);
    if (value.empty()) return fallback;
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    if (*end != '\0' || !(number > 0) || number > 86400)
        throw std::runtime_error(
            fmt::format("{}='{}' is no number of seconds from 0 to 86400", name, value));
    return number;
}

}  // namespace

Environment read_environment() {
    const std::string no_jit = text("HETUNE_NO_JIT");
    return {.template_dir = text("HETUNE_TEMPLATE_DIR"),
            .clang = text("HETUNE_CLANG"),
            .worker = text("HETUNE_WORKER"),
            .hiprtc = text("HETUNE_HIPRTC_LIBRARY"),
            .hip_library = text("HETUNE_HIP_LIBRARY"),
            .emulator = text("HETUNE_EMULATOR"),
            .emulator_arch = text("HETUNE_EMULATOR_ARCH"),
            .nvrtc = text("HETUNE_NVRTC_LIBRARY"),
            .cublas = text("HETUNE_CUBLAS_LIBRARY"),
            .llvm = text("HETUNE_LLVM_LIBRARY"),
            .cpu_arch = text("HETUNE_CPU_ARCH"),
            .cache_folder = cache_options_from_environment({}).folder.string(),
            .rocm_path = text("ROCM_PATH"),
            .compile_timeout = std::chrono::milliseconds(
                static_cast<int64_t>(seconds("HETUNE_COMPILE_TIMEOUT", 120) * 1000)),
            .no_jit = !no_jit.empty() && no_jit != "0",
            .tune = text("HETUNE_TUNE")};
}

}  // namespace hetune
