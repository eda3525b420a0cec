// NVRTC, for NVIDIA: makes cubins, with or without a GPU.
#include <fmt/format.h>
#include <unistd.h>

#include "runtime/compile/library_compiler.h"

namespace hetune {
namespace {

const LibraryKind kLibrary = {
    .name = "nvrtc",
    .family = TargetFamily::kNvidia,
    .baseline_arch = "sm_80",
    .options = [](const std::string& arch) -> std::vector<std::string> {
        // -default-device: functions of the templates need no __device__ on their own.
        return {"--gpu-architecture=" + arch, "-std=c++20", "-default-device"};
    },
};

const RegisterCompiler kNvrtc{{
    .name = "nvrtc",
    .families = {TargetFamily::kNvidia},
    .preference = 30,
    .install = "install NVIDIA's cuda-nvrtc package (libnvrtc.so.12 or newer)",
    .find = [](const Environment& environment) -> std::unique_ptr<Compiler> {
        std::optional<std::filesystem::path> library;
        if (!environment.nvrtc.empty())
            library = environment.nvrtc;
        else
            library =
                find_library({"libnvrtc.so.13", "libnvrtc.so.12"},
                             {"/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"});
        return library ? open_library_compiler(kLibrary, *library, environment) : nullptr;
    },
}};

}  // namespace
}  // namespace hetune
