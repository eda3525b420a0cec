#include "runtime/device/device_rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "runtime/device/gpu/cublas_rate.h"

namespace hetune {
namespace {

constexpr int kPasses = 5;

// Milliseconds of the fastest of a few.
double best_ms(Device& device, const std::function<void()>& work) {
    work();
    device.synchronize();
    double best = device.time_ms(work);
    for (int pass = 1; pass < kPasses; ++pass) best = std::min(best, device.time_ms(work));
    return best;
}

std::vector<std::byte> arguments_of(std::initializer_list<const Buffer*> buffers) {
    std::vector<std::byte> args;
    for (const Buffer* buffer : buffers) {
        const uint64_t address = buffer->address();
        const auto* bytes = reinterpret_cast<const std::byte*>(&address);
        args.insert(args.end(), bytes, bytes + sizeof address);
    }
    return args;
}

void measure_reads(Device& device, KernelLibrary& library, DeviceRates& rates) {
    // Lanes of the CPU device are fibers of a few threads: what is much for them is little.
    const bool cpu = device.arch().on_host;
    constexpr int64_t kPieces = 8, kLoops = 16;
    const int64_t waves = cpu ? 1 : 8;
    const int64_t group_bytes = kPieces * kLoops * waves * 32 * 16;
    const auto free = static_cast<int64_t>(device.info().free_bytes);
    const int64_t wanted = std::min(cpu ? int64_t{32} << 20 : int64_t{8} << 30, free / 2);
    const int64_t groups = std::max<int64_t>(wanted / group_bytes, 1);
    const KernelSpec spec{"read_memory",
                          {{"kPieces", std::to_string(kPieces)},
                           {"kPasses", std::to_string(kLoops)},
                           {"kWaves", std::to_string(waves)}}};
    const auto module = device.load(library.get({spec}).front());
    const auto data = device.allocate(static_cast<size_t>(groups * group_bytes));
    const auto sums = device.allocate(static_cast<size_t>(groups * waves * 4));
    device.fill(*data, 0, data->bytes(), 0x5a);
    const LaunchShape shape{.groups = {static_cast<uint32_t>(groups), 1, 1},
                            .threads = static_cast<uint32_t>(32 * waves)};
    const auto args = arguments_of({data.get(), sums.get()});
    const double ms = best_ms(device, [&] { device.launch(*module, shape, args); });
    rates.read_bytes = groups * group_bytes;
    rates.read_gb_s = static_cast<double>(rates.read_bytes) / ms * 1e-6;
}

void measure_matrix(Device& device, KernelLibrary& library, DeviceRates& rates) {
    if (!device.arch().has_matrix) {
        rates.matrix_how = "no matrix unit";
        return;
    }
    constexpr int64_t kLoops = 4096, kWaves = 8, kProducts = 8;
    const int64_t groups = int64_t{16} * std::max(device.info().compute_units, 1);
    const KernelSpec spec{"matrix_rate",
                          {{"kLoops", std::to_string(kLoops)}, {"kWaves", std::to_string(kWaves)}}};
    const auto module = device.load(library.get({spec}).front());
    // Values that vary: the power that a product takes depends on them, and the clock on the power.
    std::vector<uint16_t> halves(6 * 256);
    for (size_t i = 0; i < halves.size(); ++i)
        halves[i] = static_cast<uint16_t>((i * 2654435761u >> 7 & 0x83ff) |
                                          0x3800);  // 0.5 to 1, either sign
    const auto factors = device.allocate(halves.size() * sizeof halves[0]);
    device.upload(*factors, 0, std::as_bytes(std::span(halves)));
    const auto sums = device.allocate(static_cast<size_t>(groups * kWaves) * sizeof(float));
    const LaunchShape shape{.groups = {static_cast<uint32_t>(groups), 1, 1},
                            .threads = 32 * kWaves};
    const auto args = arguments_of({factors.get(), sums.get()});
    const double ms = best_ms(device, [&] { device.launch(*module, shape, args); });
    constexpr double kOperations = 2.0 * 16 * 16 * 16;  // of one product of tiles
    rates.matrix_tflops =
        static_cast<double>(groups * kWaves * kLoops * kProducts) * kOperations / ms * 1e-9;
    rates.matrix_how = "a loop of matrix instructions, f16 with f32 accumulation";
    if (device.info().backend != "cuda") return;
    if (const auto library = cublas_rate(device); library && library->tflops > 0) {
        rates.matrix_how =
            fmt::format("{}; {} {:.0f}", library->how, rates.matrix_how, rates.matrix_tflops);
        rates.matrix_tflops = library->tflops;
    }
}

}  // namespace

DeviceRates measure_rates(Device& device, KernelLibrary& library,
                          const std::function<bool()>& over) {
    DeviceRates rates;
    const auto ended = [&] { return over && over(); };
    rates.matrix_how = "not measured, no time was left";
    try {
        if (!ended()) measure_reads(device, library, rates);
        if (!ended()) measure_matrix(device, library, rates);
    } catch (const CompileError& error) {
        if (error.cause() != CompileError::Cause::kGivenUp) throw;
    }
    return rates;
}

}  // namespace hetune
