// certify_bench SHAPE LAYERS [ROWS]: what certificates cost for a model of this shape with fewer
// layers (the kernels are the same) and prefill steps of ROWS tokens (64), on the CPU device.
// Writes the model into the build folder.
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "runtime/device/cpu_device.h"
#include "tests/runtime/solo.h"
#include "tools/synth/synthetic.h"

int main(int argc, char** argv) try {
    using namespace hetune;
    if (argc != 3 && argc != 4)
        throw std::runtime_error("usage: certify_bench SHAPE LAYERS [ROWS]");
    const int rows = argc == 4 ? std::atoi(argv[3]) : 64;
    ModelShape shape = find_shape(argv[1]);
    shape.layers = std::atoi(argv[2]);
    const std::filesystem::path folder = HETUNE_BUILD_DIR "/test-models";
    std::filesystem::create_directories(folder);
    const std::filesystem::path path = folder / fmt::format("{}-{}.gguf", shape.name, shape.layers);
    write_synthetic(shape, {.quant = "Q4_K_M"}, path);
    const ModelFile file(path);
    const auto device = open_cpu_device(0);
    CodeStore store({.folder = HETUNE_BUILD_DIR "/bench-cache"});
    KernelLibrary library(device->arch(), store, read_environment());
    const Solo session(file, *device, library, nullptr, {.context = rows, .prefill_rows = rows}, {},
                       {.certify = CertifyMode::kAlways});
    double ms = 0, launch_ms = 0;
    for (const CertifiedKernel& kernel : session.certificates()) {
        const Certificate& c = kernel.certificate;
        ms += c.ms;
        launch_ms += c.launch_ms;
        fmt::print("{:<24} {:>8.1f} ms, {:>8.1f} without the kernel  {}\n", kernel.spec.name, c.ms,
                   c.ms - c.launch_ms, c.failure);
    }
    fmt::print("{} kernels: {:.0f} ms, {:.0f} ms without the kernels themselves\n",
               session.certificates().size(), ms, ms - launch_ms);
    std::filesystem::remove(path);
} catch (const std::exception& error) {
    fmt::print(stderr, "certify_bench: {}\n", error.what());
    return 1;
}
