// A sweep with real timings on the CPU device, in a cache of its own: what a whole step takes by
// the defaults and with what was found. Exit code 1 where that is slower, beyond the noise.
//
//   tune_bench tests/models/tiny-Q4_K_M.gguf [rows]
#include <fmt/format.h>
#include <stdlib.h>

#include <filesystem>

#include "cache/code_store.h"
#include "runtime/device/cpu_device.h"
#include "runtime/trial/tuner.h"

int main(int argc, char** argv) {
    using namespace hetune;
    if (argc < 2) {
        fmt::print(stderr, "usage: tune_bench MODEL [ROWS]\n");
        return 2;
    }
    std::string folder = (std::filesystem::temp_directory_path() / "tune_bench.XXXXXX").string();
    if (mkdtemp(folder.data()) == nullptr) return 1;
    int status = 0;
    try {
        const CacheOptions cache{.folder = folder};
        CodeStore codes(cache);
        const CacheFolder opened(cache);
        TuningStore store(opened);
        const auto device = open_cpu_device(0);
        const ModelFile file(argv[1]);
        KernelLibrary library(device->arch(), codes, read_environment());
        const int rows = argc > 2 ? std::stoi(argv[2]) : 1;
        const StepKind kind = rows == 1 ? kDecodeStep : StepKind{.rows = rows};
        const TuneResult result =
            Tuner(device->arch(), device.get(), &library, store, file, nullptr, {.kinds = {kind}})
                .run();
        for (const TunedPlan& plan : result.plans) {
            fmt::print(
                "{} row(s): {} shapes in {:.1f} s; a step takes {:.1f} us by default, {:.1f} +- "
                "{:.1f} us tuned: "
                "{:.3f} of it\n",
                plan.rows, result.kernels.size(), result.seconds, plan.default_us, plan.tuned_us,
                plan.noise_us, plan.tuned_us / plan.default_us);
            if (is_faster({plan.default_us, plan.noise_us, 1}, {plan.tuned_us, plan.noise_us, 1}))
                status = 1;
        }
    } catch (const std::exception& error) {
        fmt::print(stderr, "tune_bench: {}\n", error.what());
        status = 1;
    }
    std::filesystem::remove_all(folder);
    return status;
}
