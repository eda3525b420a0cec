#include "tests/kernel_templates/kernel_run.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <stdexcept>

#include "kernel_templates/catalogue.h"
#include "kernel_templates/quant/registry.h"
#include "planner/file/gguf_output.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/device/cpu_device.h"
#include "runtime/trial/guarded_buffer.h"
#include "tests/run_store.h"
#include "tests/skip.h"

namespace hetune::testing {
namespace {

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

KernelLibrary& library() {
    static CodeStore store({.folder = run_store()});
    static KernelLibrary instance(device().arch(), store, read_environment());
    return instance;
}

}  // namespace

std::vector<float> random_floats(size_t count, uint32_t seed) {
    std::mt19937 random(seed);
    return seeded_floats(count, random);
}

KernelRun& KernelRun::add(std::span<const std::byte> from, size_t bytes) {
    constexpr std::byte kPoison{0xff};
    std::vector<std::byte>& memory = memory_.emplace_back(bytes, kPoison);
    std::ranges::copy(from, memory.begin());
    return *this;
}

void KernelRun::launch(std::vector<uint32_t> groups, uint32_t threads) {
    const auto module = device().load(library().get({spec_}).at(0));
    LaunchShape shape{.threads = threads};
    std::ranges::copy(groups, shape.groups);
    std::vector<std::unique_ptr<GuardedBuffer>> buffers;
    std::vector<uint64_t> args;
    for (const auto& memory : memory_) {
        buffers.push_back(std::make_unique<GuardedBuffer>(device(), memory.size()));
        buffers.back()->upload(0, memory);
        args.push_back(buffers.back()->address());
    }
    device().launch(*module, shape, std::as_bytes(std::span(args)));
    device().synchronize();
    for (size_t i = 0; i < memory_.size(); ++i) {
        buffers[i]->download(memory_[i], 0);
        if (const std::string damage = buffers[i]->damage(); !damage.empty())
            throw std::runtime_error(fmt::format("{}, argument {}: {}", spec_.name, i, damage));
    }
}

Certificate KernelCase::certificate() const {
    Plan plan{.options = {.rows = rows}, .kernels = {spec}};
    plan.steps.push_back({.threads = threads, .rows_per_group = rows_per_group});
    PlanStep& step = plan.steps[0];
    std::ranges::copy(groups, step.groups);
    GgufOutput file;
    for (const TemplateParam& param : find_template(spec.name)->params) {
        step.args.push_back({static_cast<int>(plan.buffers.size())});
        PlanBuffer& buffer = plan.buffers.emplace_back(param.name);
        const auto found = behind.find(param.name);
        if (found == behind.end()) continue;
        const auto& [kind, buffer_rows, cols] = found->second;
        buffer.bytes = step.args.back().bytes = cols;
        if (const QuantFormat* format = find_quant(kind)) {
            buffer.role = BufferRole::kTiles;
            buffer.bytes = tiles_bytes(*format, buffer_rows, cols);
            buffer.tensor = param.name;
            file.add(param.name, format->ggml_type, {cols, buffer_rows});
        } else if (kind == "floats") {
            buffer.role = BufferRole::kRaw;
            buffer.bytes = 4 * cols;
        } else if (kind == "turns") {
            buffer.role = BufferRole::kTurns;
            buffer.bytes = 8 * cols;
        }
    }
    const std::string header = file.header();
    const auto bytes = std::as_bytes(std::span(header));
    const ModelFile model("made by a test", {bytes.begin(), bytes.end()});
    const auto module = device().load(library().get({spec}).at(0));
    TrialDevice on{.device = device()};
    return try_out({on, *module, plan, step, model, position});
}

void check(const std::vector<KernelCase>& cases) {
    std::set<KernelSpec> specs;
    for (const KernelCase& one : cases) specs.insert(one.spec);
    library().get({specs.begin(), specs.end()});
    for (const KernelCase& one : cases) {
        CAPTURE(one.spec.to_string());
        CAPTURE(one.rows);
        CAPTURE(one.position.value_or(-1));
        const Certificate certificate = one.certificate();
        CHECK(certificate.failure == "");
        for (const CertifiedOutput& output : certificate.outputs) {
            CAPTURE(output.name);
            CHECK(output.samples > 0);
            CHECK(output.worst <= std::min(one.tolerance, output.tolerance));
        }
    }
}

std::vector<float> values_of_blocks(std::span<const uint8_t> bytes) {
    const std::span blocks(reinterpret_cast<const HostXBlock*>(bytes.data()),
                           bytes.size() / sizeof(HostXBlock));
    std::vector<float> values;
    for (const HostXBlock& block : blocks)
        for (const int8_t q : block.q) values.push_back(block.scale * static_cast<float>(q));
    return values;
}

std::vector<float> values_of_half_rows(std::span<const uint8_t> bytes, int64_t cols) {
    std::vector<float> values;
    for (int64_t row = 0; row < std::ssize(bytes) / (2 * cols + 16); ++row) {
        const std::vector<float> one = half_row(cols, std::as_bytes(bytes), row);
        values.insert(values.end(), one.begin(), one.end());
    }
    return values;
}

double relative_error(std::span<const float> got, std::span<const float> wanted) {
    Comparison comparison("", 1);
    comparison.add_all(0, got, wanted);
    return comparison.result().worst;
}

}  // namespace hetune::testing
