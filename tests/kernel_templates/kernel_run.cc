#include "tests/kernel_templates/kernel_run.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "kernel_templates/catalogue.h"
#include "runtime/device/cpu_device.h"
#include "tests/skip.h"

namespace hetune::testing {
namespace {

constexpr size_t kGuard = 256;
constexpr std::byte kPoison{0xff};

struct Objects {
    std::mutex mutex;
    std::map<std::string, CodeObject> by_spec;
};
Objects& objects() {
    static Objects instance;
    return instance;
}

// Empty: the CPU device.
std::string wanted_backend() {
    const char* name = std::getenv("HETUNE_TEST_BACKEND");
    return name == nullptr ? "" : name;
}

const Need need([] {
    for (const Backend& backend : backends())
        if (backend.name == wanted_backend()) return backend.unavailable();
    return std::string();
});

Device& device() {
    static const std::unique_ptr<Device> instance =
        wanted_backend().empty() ? open_cpu_device(2) : open_device(wanted_backend());
    return *instance;
}

CodeObject compile(const KernelSpec& spec) {
    const Arch& arch = device().arch();
    static const std::unique_ptr<Compiler> compiler = choose_compiler(arch, read_environment());
    return compiler->compile({spec.name, TemplateSources().render(spec, arch.family), arch});
}

}  // namespace

const CodeObject& object_of(const KernelSpec& spec) {
    {
        const std::lock_guard lock(objects().mutex);
        const auto found = objects().by_spec.find(spec.to_string());
        if (found != objects().by_spec.end()) return found->second;
    }
    CodeObject code = compile(spec);
    const std::lock_guard lock(objects().mutex);
    return objects().by_spec.emplace(spec.to_string(), std::move(code)).first->second;
}

void compile_all(const std::vector<KernelSpec>& specs) {
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    std::exception_ptr failure;
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t)
        threads.emplace_back([&] {
            for (size_t i = next++; i < specs.size(); i = next++) {
                try {
                    object_of(specs[i]);
                } catch (...) {
                    const std::lock_guard lock(mutex);
                    failure = std::current_exception();
                }
            }
        });
    threads.clear();
    if (failure != nullptr) std::rethrow_exception(failure);
}

std::vector<float> random_floats(size_t count, uint32_t seed) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    std::vector<float> values(count);
    for (float& value : values) value = uniform(engine);
    return values;
}

KernelRun& KernelRun::add(std::span<const std::byte> from, size_t bytes) {
    std::vector<std::byte> memory(bytes + kGuard, kPoison);
    if (!from.empty()) std::memcpy(memory.data(), from.data(), from.size());
    memory_.push_back(std::move(memory));
    sizes_.push_back(bytes);
    return *this;
}

void KernelRun::launch(std::vector<uint32_t> groups, uint32_t threads) {
    const auto module = device().load(object_of(spec_));
    LaunchShape shape{.threads = threads};
    for (size_t i = 0; i < groups.size(); ++i) shape.groups[i] = groups[i];
    std::vector<std::unique_ptr<Buffer>> buffers;
    std::vector<uint64_t> args;
    for (const auto& memory : memory_) {
        buffers.push_back(device().allocate(memory.size()));
        device().upload(*buffers.back(), 0, memory);
        args.push_back(buffers.back()->address());
    }
    device().launch(*module, shape, std::as_bytes(std::span(args)));
    device().synchronize();
    for (size_t i = 0; i < memory_.size(); ++i) device().download(memory_[i], *buffers[i], 0);
    for (size_t i = 0; i < memory_.size(); ++i)
        for (size_t at = sizes_[i]; at < memory_[i].size(); ++at)
            if (memory_[i][at] != kPoison)
                throw std::runtime_error(fmt::format("{} wrote behind argument {}", spec_.name, i));
}

std::vector<float> values_of_blocks(std::span<const uint8_t> bytes) {
    std::vector<float> values;
    for (size_t at = 0; at + 48 <= bytes.size(); at += 48) {
        float scale;
        std::memcpy(&scale, bytes.data() + at, 4);
        for (size_t i = 0; i < 32; ++i)
            values.push_back(scale * static_cast<float>(static_cast<int8_t>(bytes[at + 16 + i])));
    }
    return values;
}

float half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31;
    const double fraction = bits & 1023;
    const double size =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    return static_cast<float>(bits >> 15 ? -size : size);
}

std::vector<float> values_of_half_rows(std::span<const uint8_t> bytes, int64_t cols) {
    std::vector<float> values;
    const auto row_bytes = static_cast<size_t>(2 * cols + 16);
    for (size_t at = 0; at + row_bytes <= bytes.size(); at += row_bytes) {
        float scale;
        std::memcpy(&scale, bytes.data() + at + 2 * cols, 4);
        for (size_t c = 0; c < static_cast<size_t>(cols); ++c) {
            uint16_t half;
            std::memcpy(&half, bytes.data() + at + 2 * c, 2);
            values.push_back(half_value(half) * scale);
        }
    }
    return values;
}

double relative_error(std::span<const float> got, std::span<const float> wanted) {
    double error = 0, size = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        const double difference =
            std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
        if (!(difference <= error)) error = difference;
        if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
        size = std::max(size, std::abs(static_cast<double>(wanted[i])));
    }
    return size > 0 ? error / size : error;
}

}  // namespace hetune::testing
