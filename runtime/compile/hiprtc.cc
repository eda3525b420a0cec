// hipRTC and, where there is no HIP runtime, comgr alone: AMD's own compilers.
#include <fmt/format.h>

#include "runtime/compile/library_compiler.h"

namespace hetune {
namespace {

const LibraryKind kHiprtcLibrary = {
    .name = "hiprtc",
    .family = TargetFamily::kAmd,
    .baseline_arch = "gfx1030",
    .options = [](const std::string& arch) -> std::vector<std::string> {
        return {"--offload-arch=" + arch, "-O3", "-std=c++20", "-mcode-object-version=5",
                "-fuse-cuid=none",        "-w"};
    },
};

const LibraryKind kComgrLibrary = {
    .name = "comgr",
    .family = TargetFamily::kAmd,
    .baseline_arch = "gfx1030",
    .options = [](const std::string&) -> std::vector<std::string> {
        return {"-O3",       "-std=c++20", "-mcode-object-version=5",
                "-nogpulib", "-nogpuinc",  "-fuse-cuid=none",
                "-w"};
    },
};

std::unique_ptr<Compiler> find(const LibraryKind& kind, const std::string& forced,
                               const std::vector<std::string>& names,
                               const Environment& environment) {
    std::optional<std::filesystem::path> library;
    if (!forced.empty())
        library = forced;
    else
        library = find_library(names, rocm_library_folders(environment));
    return library ? open_library_compiler(kind, *library, environment) : nullptr;
}

const RegisterCompiler kHiprtc{{
    .name = "hiprtc",
    .families = {TargetFamily::kAmd},
    .preference = 30,
    .install =
        "install hipRTC of ROCm 5.2 to 7 (Debian 12 and 13: apt install libamdhip64-5, which holds "
        "it; newer: libhiprtc6)",
    .find =
        [](const Environment& environment) {
            // Newest first; in Debian's ROCm 5.x hipRTC is inside the HIP runtime.
            return find(kHiprtcLibrary, environment.hiprtc,
                        {"libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so.5", "libamdhip64.so.5"},
                        environment);
        },
}};

const RegisterCompiler kComgr{{
    .name = "comgr",
    .families = {TargetFamily::kAmd},
    .preference = 20,
    .install =
        "install AMD's comgr (Debian 12 and 13: apt install libamd-comgr2; newer: libamd-comgr3)",
    .find =
        [](const Environment& environment) {
            return find(kComgrLibrary, {}, {"libamd_comgr.so.3", "libamd_comgr.so.2"}, environment);
        },
}};

}  // namespace
}  // namespace hetune
