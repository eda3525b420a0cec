#include "runtime/device/gpu/cublas_rate.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "runtime/compile/environment.h"
#include "runtime/device/gpu/driver_library.h"

namespace hetune {
namespace {

// cublas_api.h and library_types.h
constexpr int kTransposed = 1, kNot = 0;  // cublasOperation_t
constexpr int kHalf = 2;                  // CUDA_R_16F
constexpr int kSumInFloat = 68;           // CUBLAS_COMPUTE_32F
constexpr int kDefaultAlgorithm = -1;     // CUBLAS_GEMM_DEFAULT

constexpr int kSide = 8192;
constexpr int kProducts = 8, kProductPasses = 5;

struct Cublas {
    DriverCall<int(void** handle)> create;
    DriverCall<int(void* handle)> destroy;
    DriverCall<int(void* handle, int* version)> version;
    DriverCall<int(void* handle, void* stream)> set_stream;
    DriverCall<int(void* handle, int a_op, int b_op, int m, int n, int k, const void* alpha,
                   const void* a, int a_type, int a_stride, const void* b, int b_type, int b_stride,
                   const void* beta, void* c, int c_type, int c_stride, int sums, int algorithm)>
        gemm;
};

Cublas load_cublas() {
    const std::string given = read_environment().cublas;
    DriverLibrary library(given.empty()
                              ? std::vector<std::string>{"libcublas.so.13", "libcublas.so.12",
                                                         "/usr/local/cuda/lib64/libcublas.so.13",
                                                         "/usr/local/cuda/lib64/libcublas.so.12"}
                              : std::vector{given},
                          "install cuBLAS to compare with it");
    Cublas cublas;
    library.find(cublas.create, "cublasCreate_v2");
    library.find(cublas.destroy, "cublasDestroy_v2");
    library.find(cublas.version, "cublasGetVersion_v2");
    library.find(cublas.set_stream, "cublasSetStream_v2");
    library.find(cublas.gemm, "cublasGemmEx");
    library.require_all("cuBLAS 12 or 13 has it");
    return cublas;
}

// The time that a product takes depends on the power it needs, and that on the values: 0.5 to 1, of
// either sign.
std::unique_ptr<Buffer> varied_halves(Device& device) {
    std::vector<uint16_t> halves(size_t{kSide} * kSide);
    uint32_t state = 1;
    for (uint16_t& half : halves) {
        state = state * 1664525u + 1013904223u;
        half = static_cast<uint16_t>((state >> 16 & 0x83ff) | 0x3800);
    }
    auto buffer = device.allocate(halves.size() * sizeof halves[0]);
    device.upload(*buffer, 0, std::as_bytes(std::span(halves)));
    return buffer;
}

LibraryRate measure(Device& device) {
    const Cublas cublas = load_cublas();
    const auto check = [](int status, const char* call) {
        if (status != 0) throw DeviceError(fmt::format("{} failed: {}", call, status));
    };
    const auto a = varied_halves(device), b = varied_halves(device);
    const auto c = device.allocate(a->bytes());
    void* made = nullptr;
    check(cublas.create(&made), cublas.create.name);
    const std::unique_ptr<void, int (*)(void*)> handle(made, cublas.destroy.function);
    check(cublas.set_stream(made, device.native_stream()), cublas.set_stream.name);
    const auto pointer = [](const Buffer& buffer) {
        return reinterpret_cast<void*>(buffer.address());
    };
    const auto multiply = [&] {
        const float one = 1, zero = 0;
        for (int i = 0; i < kProducts; ++i)
            check(cublas.gemm(made, kTransposed, kNot, kSide, kSide, kSide, &one, pointer(*a),
                              kHalf, kSide, pointer(*b), kHalf, kSide, &zero, pointer(*c), kHalf,
                              kSide, kSumInFloat, kDefaultAlgorithm),
                  cublas.gemm.name);
    };
    multiply();
    device.synchronize();
    double best_ms = device.time_ms(multiply);
    for (int pass = 1; pass < kProductPasses; ++pass)
        best_ms = std::min(best_ms, device.time_ms(multiply));
    int version = 0;  // 10000 * major + 100 * minor + patch
    check(cublas.version(made, &version), cublas.version.name);
    constexpr double kOperations = 2.0 * kSide * kSide * kSide * kProducts;
    return {kOperations / best_ms * 1e-9,
            fmt::format("cuBLAS {}.{}.{}, {} x {} x {}, f16 with f32 accumulation", version / 10000,
                        version / 100 % 100, version % 100, kSide, kSide, kSide)};
}

}  // namespace

std::optional<LibraryRate> cublas_rate(Device& device) {
    try {
        return measure(device);
    } catch (const DeviceError&) {
        if (!read_environment().cublas.empty()) throw;
        return std::nullopt;
    }
}

}  // namespace hetune
