// Certificates: what a trial catches, what becomes of a kernel that fails one, and where its result
// is kept.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cache/transfer.h"
#include "kernel_templates/catalogue.h"
#include "runtime/oracle/logits_distance.h"
#include "runtime/oracle/reference_engine.h"
#include "runtime/trial/certifier.h"
#include "tests/cache/test_folder.h"
#include "tests/cpu_arch.h"
#include "tests/runtime/broken_templates.h"
#include "tests/runtime/model_files.h"
#include "tests/runtime/small_shapes.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

using testing::BrokenTemplates;

const std::string kTiny = kModels + "/tiny-Q4_K_M.gguf";
const std::string kMini = kModels + "/mini35-Q4_K_M.gguf";

// One load of a model on the CPU device, and what was said.
struct Load {
    std::vector<std::string> lines;
    ModelFile file;
    std::unique_ptr<Device> device = open_cpu_device(0);
    KernelLibrary library;
    std::unique_ptr<Solo> session;

    Load(CodeStore& store, const std::string& templates, LoadOptions options,
         LoadChecks checks = {}, const std::string& path = kTiny)
        : file(path), library(device->arch(), store, environment(templates)) {
        checks.warn = [this](const std::string& line) { lines.push_back(line); };
        session = std::make_unique<Solo>(file, *device, library, nullptr, std::move(options),
                                         LoadProgress{}, checks);
    }

    static Environment environment(const std::string& templates) {
        Environment environment = read_environment();
        environment.template_dir = templates;
        return environment;
    }
    bool said(std::string_view text) const {
        return std::ranges::any_of(
            lines, [&](const std::string& line) { return line.find(text) != std::string::npos; });
    }
    bool uses(std::string_view kernel) const {
        const auto kernels = session->plan_for(kDecodeStep).kernels;
        return std::ranges::any_of(kernels,
                                   [&](const KernelSpec& spec) { return spec.name == kernel; });
    }
    int64_t tried() const {
        return std::ranges::count_if(session->certificates(), &CertifiedKernel::fresh);
    }
    double distance() {
        ReferenceEngine oracle(file, build_layer_graph(file), 64);
        const std::vector<int32_t> tokens = {32, 113, 424, 7, 99};
        return compare_logits(OneSequence(oracle).forward(tokens, false),
                              session->forward(tokens, false), oracle.vocabulary())
            .mean_kl;
    }
};

const LoadOptions kSmall{.context = 64, .prefill_rows = 9};
const LoadChecks kAlways{.certify = CertifyMode::kAlways};

TEST_CASE("every template that a plan may use has a certifier") {
    for (const TemplateInfo* info : all_templates()) {
        if (info->layer == "bench") continue;
        CAPTURE(info->name);
        CHECK(find_certifier(info->name) != nullptr);
    }
}

void all_pass(const std::string& path, LoadOptions options) {
    options.all_logits = true;
    const Load load(code_store(), {}, options, kAlways, path);
    CHECK(load.lines.empty());
    CHECK(load.session->options().refused.empty());
    CHECK(load.session->certificates().size() > 15);
    for (const CertifiedKernel& kernel : load.session->certificates()) {
        CAPTURE(kernel.spec.to_string());
        CHECK(kernel.certificate.failure == "");
        CHECK(kernel.fresh);
        CHECK_FALSE(kernel.certificate.outputs.empty());
        for (const CertifiedOutput& output : kernel.certificate.outputs)
            CHECK(output.samples > 0);  // a tolerance of 0 is that of copies
    }
}

TEST_CASE("all kernels of a dense model pass, fused and not, for one row and many") {
    all_pass(kTiny, {.context = 64, .prefill_rows = 19});
    all_pass(kTiny, {.context = 64,
                     .prefill_rows = 5,
                     .fusion = false,
                     .activations = Activations::kFloat,
                     .kv = KvType::kF32});
    all_pass(kTiny, {.context = 64, .prefill_rows = 5, .fusion = false, .kv = KvType::kBF16});
}

TEST_CASE("all kernels of a hybrid model with experts pass, by token and grouped") {
    all_pass(kMini, {.context = 64, .prefill_rows = 4});
    all_pass(kMini, {.context = 64, .prefill_rows = 20});
}

TEST_CASE("kernels of a convolution of 16 taps pass: the trial reads nothing before its ring") {
    const TestFolder folder;
    ModelShape shape = with_delta_net(small("qwen35"));
    shape.taps = 16;
    const std::string path = folder.path() / "taps.gguf";
    write_synthetic(shape, {.quant = "F16"}, path);
    all_pass(path, {.context = 64, .prefill_rows = 20});
}

TEST_CASE("kernels of matrix units, of chunks and of a KV cache in 8 bits pass") {
    all_pass(kTiny, {.context = 64, .prefill_rows = 40, .kv = KvType::kQ8, .matrix = true});
    all_pass(kMini, {.context = 64, .prefill_rows = 72, .matrix = true});
}

// Loads with broken templates; the fused kernel must fail its trial and the chain take its place.
void falls_back(const BrokenTemplates& templates, const std::string& kernel,
                const std::string& why) {
    Load load(code_store(), templates.path(), kSmall, kAlways);
    INFO(fmt::format("{}", fmt::join(load.lines, "\n")));
    CHECK(load.said(kernel));
    CHECK(load.said(why));
    CHECK_FALSE(load.uses(kernel));
    CHECK(load.distance() < 1.5e-3);
}

TEST_CASE(
    "a wrong lane in one row of sixteen is caught, named by its class, and the unfused chain gives "
    "right logits") {
    BrokenTemplates templates;
    templates.replace("linear/gemv_residual.hip", "+= residual[at]",
                      "+= residual[lane_row(i) % 16 == 3 ? at - 1 : at]");
    falls_back(templates, "gemv_residual", "in rows 3 mod 16");
}

TEST_CASE("an unwritten tail is caught") {
    BrokenTemplates templates;
    templates.replace("linear/gemv_fan.hip", "if (row >= rows_of_w) continue;",
                      "if (row >= rows_of_w - 1) continue;");
    falls_back(templates, "gemv_fan", "is not written");
}

TEST_CASE("a NaN is caught, also one that no sample holds") {
    BrokenTemplates templates;
    templates.replace("linear/gemv_fan.hip", "* rows_of_w + row] = sum;",
                      "* rows_of_w + row] = row == 67 ? sum * float_of(0x7fc00000u) : sum;");
    falls_back(templates, "gemv_fan", "element 67 is NaN or infinite");
}

TEST_CASE("a write behind a buffer is caught") {
    BrokenTemplates templates;
    templates.replace(
        "attention/attention_step.hip", "if (last < 0) return;",
        "if (last < 0) return;\n"
        "    if (thread_id() == 0) static_cast<float*>(y_rows)[kHeads * kHeadSize / 32 * "
        "(kQuantisedOutput ? 12 : 32)] = 1.0f;");
    falls_back(templates, "attention_step", "y: written behind the buffer");
}

TEST_CASE(
    "a fused kernel that does not compile is left out, remembered under its key, and tried again "
    "on request") {
    BrokenTemplates templates;
    templates.replace("linear/gemv_swiglu.hip", "EXPORT_KERNEL(gemv_swiglu)",
                      "EXPORT_KERNEL(gemv_swiglu) nonsense");
    CodeStore store{CacheOptions{}};
    {
        Load first(store, templates.path(), kSmall);
        CHECK(first.said("compiling gemv_swiglu for " + test::cpu_arch()));
        CHECK_FALSE(first.uses("gemv_swiglu"));
        CHECK(first.distance() < 1.5e-3);
    }
    const Load second(store, templates.path(), kSmall);
    CHECK(second.said("compiling gemv_swiglu for " + test::cpu_arch()));
    CHECK_FALSE(second.uses("gemv_swiglu"));
    CHECK(second.library.statistics().compiled == 0);

    // Another source is another key.
    templates.replace("linear/gemv_swiglu.hip", " nonsense", "");
    const Load repaired(store, templates.path(), kSmall);
    CHECK(repaired.lines.empty());
    CHECK(repaired.uses("gemv_swiglu"));
}

TEST_CASE("a refusal is only remembered for what is the kernel's fault") {
    const auto device = open_cpu_device(1);
    BrokenTemplates templates;
    templates.replace("norm/rmsnorm.hip", "EXPORT_KERNEL(rmsnorm)", "nonsense");
    const std::vector<KernelSpec> spec = {
        {"rmsnorm", {{"kCols", "64"}, {"kEps", "1e-6f"}, {"kWaves", "1"}}}};
    CodeStore store{CacheOptions{}};
    Environment hasty = Load::environment(templates.path());
    hasty.compile_timeout = std::chrono::milliseconds(1);
    KernelLibrary too_fast(device->arch(), store, hasty);
    CHECK_THROWS_AS(too_fast.make(spec, false), CompileError);
    KernelLibrary library(device->arch(), store, Load::environment(templates.path()));
    CHECK_FALSE(library.make(spec, false).at(0).remembered);
    CHECK(library.make(spec, false).at(0).remembered);
    CHECK_FALSE(library.make(spec, true).at(0).remembered);
}

TEST_CASE(
    "a kernel is tried once, again where that is asked for, and never where it is switched off") {
    CodeStore store{CacheOptions{}};
    const Load first(store, {}, kSmall);
    CHECK(first.tried() == static_cast<int64_t>(first.session->certificates().size()));
    const Load second(store, {}, kSmall);
    CHECK(second.tried() == 0);
    CHECK(second.session->certificates().size() == first.session->certificates().size());
    const Load always(store, {}, kSmall, kAlways);
    CHECK(always.tried() == first.tried());
    const Load off(store, {}, kSmall, {.certify = CertifyMode::kOff});
    CHECK(off.session->certificates().empty());
}

TEST_CASE("a failed certificate is remembered, and tried again on request") {
    BrokenTemplates templates;
    templates.replace("linear/gemv_fan.hip", "* rows_of_w + row] = sum;",
                      "* rows_of_w + row] = 2.0f * sum;");
    CodeStore store{CacheOptions{}};
    { const Load first(store, templates.path(), kSmall); }
    const Load second(store, templates.path(), kSmall);
    CHECK(second.said("gemv_fan"));
    CHECK(second.tried() == 0);
    const Load third(store, templates.path(), kSmall, {.retry = true});
    const auto& certificates = third.session->certificates();
    CHECK(third.tried() > 1);  // for one row and for nine
    CHECK(third.tried() == std::ranges::count_if(certificates, [](const CertifiedKernel& kernel) {
              return !kernel.certificate.passed();
          }));
}

TEST_CASE("where no kernel is left the error says which was refused and why") {
    BrokenTemplates templates;
    templates.replace("norm/rmsnorm.hip", "to[c] = from[c] * factor * w[c];",
                      "if (c > 0) to[c] = from[c] * factor * w[c];");
    CodeStore store{CacheOptions{}};
    CHECK_THROWS_WITH_AS(
        Load(store, templates.path(), {.context = 64, .prefill_rows = 9, .fusion = false}),
        doctest::Contains("its trial failed: y: element 0 of"), ModelError);
}

// The CPU device under another driver.
class OtherDriver : public Device {
  public:
    const Arch& arch() const override { return device_->arch(); }
    DeviceInfo info() const override {
        DeviceInfo info = device_->info();
        info.driver = "another";
        return info;
    }
    std::unique_ptr<Buffer> allocate(size_t bytes) override { return device_->allocate(bytes); }
    void upload(Buffer& to, size_t offset, std::span<const std::byte> from) override {
        device_->upload(to, offset, from);
    }
    void download(std::span<std::byte> to, const Buffer& from, size_t offset) override {
        device_->download(to, from, offset);
    }
    void fill(Buffer& buffer, size_t offset, size_t bytes, uint8_t value) override {
        device_->fill(buffer, offset, bytes, value);
    }
    std::unique_ptr<Module> load(const CodeObject& code) override { return device_->load(code); }
    void launch(Module& module, const LaunchShape& shape,
                std::span<const std::byte> args) override {
        device_->launch(module, shape, args);
    }
    void synchronize() override { device_->synchronize(); }
    std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
        return device_->capture(record);
    }
    void replay(Graph& graph) override { device_->replay(graph); }
    HostMemory allocate_host(size_t bytes) override { return device_->allocate_host(bytes); }
    std::unique_ptr<Mark> make_mark() override { return device_->make_mark(); }
    void record(Mark& mark) override { device_->record(mark); }
    void wait(Mark& mark) override { device_->wait(mark); }
    double time_ms(const std::function<void()>& work) override { return device_->time_ms(work); }

  private:
    std::unique_ptr<Device> device_ = open_cpu_device(0);
};

TEST_CASE("certificates come along in a bundle, and another driver asks again") {
    const TestFolder folder;
    const auto bundle = folder.path() / "kernels.htb";
    size_t kernels = 0;
    {
        CodeStore store{CacheOptions{.folder = folder.path() / "cache"}};
        const Load first(store, {}, kSmall);
        kernels = first.session->certificates().size();
        CHECK(first.tried() == static_cast<int64_t>(kernels));
    }
    export_bundle(CacheFolder(CacheOptions{.folder = folder.path() / "cache"}), {}, bundle);
    CodeStore store{CacheOptions{.layers = {bundle}}};
    const Load load(store, {}, kSmall);
    CHECK(load.library.statistics().compiled == 0);
    CHECK(load.tried() == 0);
    CHECK(load.session->certificates().size() == kernels);

    OtherDriver device;
    KernelLibrary library(device.arch(), store, read_environment());
    const Solo session(load.file, device, library, nullptr, kSmall);
    CHECK(std::ranges::count_if(session.certificates(), &CertifiedKernel::fresh) ==
          static_cast<int64_t>(kernels));
}

}  // namespace
}  // namespace hetune
