// What a certificate depends on, where it goes, and what does not become one.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "cache/transfer.h"
#include "runtime/trial/certifier.h"
#include "runtime/trial/certify.h"
#include "tests/runtime/broken_templates.h"
#include "tests/runtime/emulated_models.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

using testing::BrokenTemplates;

const LoadOptions kFewRows{.context = 64, .prefill_rows = 9};

// The CPU device, whose launches fail as long as `broken`.
class FailingDevice : public Device {
  public:
    bool broken = false;
    int launches = 0;

    const Arch& arch() const override { return device_->arch(); }
    DeviceInfo info() const override { return device_->info(); }
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
        ++launches;
        if (broken) throw DeviceError("the device was reset");
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

struct TinySession {
    explicit TinySession(Device& device, CodeStore& store, const std::string& templates = {},
                         LoadChecks checks = {},
                         const std::string& path = kModels + "/tiny-Q4_K_M.gguf")
        : file(path), library(device.arch(), store, environment(templates)) {
        checks.warn = [this](const std::string& line) { warnings.push_back(line); };
        session.emplace(file, device, library, nullptr, kFewRows, LoadProgress{}, checks);
    }
    static Environment environment(const std::string& templates) {
        Environment environment = read_environment();
        environment.template_dir = templates;
        return environment;
    }
    int64_t tried() const {
        return std::ranges::count_if(session->certificates(), &CertifiedKernel::fresh);
    }
    ModelFile file;
    KernelLibrary library;
    std::vector<std::string> warnings;
    std::optional<Solo> session;
};

// The code objects of the tests' store as a read-only layer, so that nothing is compiled again.
// The layer has no certificates: other tests of the same run write certificates to that store.
CacheOptions with_compiled_kernels(const std::filesystem::path& folder = {}) {
    static const TestFolder layer;
    if (const auto objects = layer.path() / "objects"; !std::filesystem::exists(objects))
        std::filesystem::create_directory_symlink(code_store().writable_folder() / "objects",
                                                  objects);
    return {.folder = folder, .layers = {layer.path()}};
}

TEST_CASE("a device that fails during a trial ends the load, and no kernel is refused for it") {
    FailingDevice device;
    CodeStore store(with_compiled_kernels());
    device.broken = true;
    CHECK_THROWS_WITH_AS(TinySession(device, store, {}, {.certify = CertifyMode::kAlways}),
                         doctest::Contains("the device was reset"), DeviceError);
    CHECK(device.launches > 0);
    device.broken = false;
    const TinySession again(device, store);
    CHECK(again.warnings.empty());
    CHECK(again.session->options().refused.empty());
}

TEST_CASE("a certificate of another version of the certifier does not count") {
    const TestFolder folder;
    FailingDevice device;
    CodeStore store(with_compiled_kernels(folder.path()));
    const TinySession first(device, store);
    for (const auto& path : fact_files(folder.path())) {
        Fact fact = read_fact(path).value();
        if (fact.key.kind != "certificate" || fact.kernel != "gemv_fan") continue;
        store.facts().forget(fact.key);
        fact.key.version += "0";
        store.facts().put(fact);
    }
    const TinySession second(device, store);
    const auto& kernels = second.session->certificates();
    CHECK(second.tried() > 0);
    CHECK(std::ranges::all_of(kernels, [](const CertifiedKernel& kernel) {
        return kernel.fresh == (kernel.spec.name == "gemv_fan");
    }));
    CHECK(TinySession(device, store).tried() == 0);
}

TEST_CASE("a certificate is of a step's shape: other rows are tried anew") {
    FailingDevice device;
    CodeStore store{CacheOptions{}};
    const TinySession first(device, store);
    ModelFile file(kModels + "/tiny-Q4_K_M.gguf");
    KernelLibrary library(device.arch(), store, read_environment());
    const Solo other(file, device, library, nullptr, {.context = 64, .prefill_rows = 11});
    CHECK(std::ranges::any_of(other.certificates(), [](const CertifiedKernel& kernel) {
        return kernel.fresh && kernel.spec.name == "gemv_fan";
    }));
}

TEST_CASE("what failed on another machine is tried here, and what is found here counts") {
    const TestFolder there, here;
    BrokenTemplates templates;
    templates.replace("linear/gemv_fan.hip", "* rows_of_w + row] = sum;",
                      "* rows_of_w + row] = 2.0f * sum;");
    FailingDevice device;
    {
        CodeStore store({.folder = there.path()});
        const TinySession first(device, store, templates.path());
        CHECK_FALSE(first.warnings.empty());
        const TinySession second(device, store, templates.path());
        CHECK(second.tried() == 0);
        CHECK_FALSE(second.warnings.empty());
    }
    const auto bundle = here.path() / "kernels.htb";
    export_bundle(CacheFolder(CacheOptions{.folder = there.path()}), {}, bundle);
    for (const std::filesystem::path& layer : {bundle, there.path()}) {
        CodeStore store({.layers = {layer}});
        const TinySession other(device, store, templates.path());
        CHECK(other.library.statistics().compiled == 0);
        CHECK(other.tried() > 0);
        CHECK(std::ranges::all_of(other.session->certificates(), [](const CertifiedKernel& kernel) {
            return kernel.fresh != kernel.certificate.passed();
        }));
    }
}

TEST_CASE("a damaged model condemns no kernel") {
    const TestFolder folder;
    const std::string damaged = folder.path() / "damaged.gguf";
    std::filesystem::copy_file(kModels + "/tiny-Q4_K_M.gguf", damaged);
    {
        const ModelFile file(damaged);
        const Tensor& norm = file.tensor("output_norm.weight");
        const auto at = norm.data.data() - file.headers().at(0).data();
        const float nan = std::numeric_limits<float>::quiet_NaN();
        std::fstream out(damaged, std::ios::in | std::ios::out | std::ios::binary);
        out.seekp(at);
        out.write(reinterpret_cast<const char*>(&nan), sizeof nan);
    }
    FailingDevice device;
    CodeStore store(with_compiled_kernels());
    try {
        const TinySession broken(device, store, {}, {.certify = CertifyMode::kAlways}, damaged);
        CHECK(broken.session->options().refused.empty());
    } catch (const std::runtime_error& error) {
        CHECK(std::string(error.what()).find("output_norm") != std::string::npos);
    }
    const TinySession sound(device, store);
    CHECK(sound.warnings.empty());
    CHECK(sound.session->options().refused.empty());
}

TEST_CASE("heads of any size are tried in full, and pass") {
    const auto device = open_cpu_device(0);
    KernelLibrary library(device->arch(), code_store(), read_environment());
    for (const int size : {24, 40, 80, 112}) {
        ModelShape shape = testing::emulated_llama();
        shape.name = fmt::format("head{}", size);
        shape.head_size = size;
        const ModelFile file(
            testing::written_model({shape, {}}, "F32", HETUNE_BUILD_DIR "/test-models/heads"));
        const LayerGraph graph = build_layer_graph(file);
        const ModelPlans plans =
            model_plans(graph, file, device->arch(), {.context = 64, .prefill_rows = 5});
        int tried = 0;
        for (const Plan& plan : plans.steps)
            for (const PlanStep& step : plan.steps) {
                const KernelSpec& spec = plan.spec(step);
                if (spec.name != "attention_step" && spec.name != "attention_split") continue;
                const auto module = device->load(library.get({spec}).at(0));
                TrialDevice on{.device = *device};
                const Certificate certificate = try_out({on, *module, plan, step, file});
                CAPTURE(size);
                CHECK(certificate.failure == "");
                for (const CertifiedOutput& output : certificate.outputs)
                    if (output.name == "y") CHECK(output.samples >= shape.heads * size);
                ++tried;
            }
        CHECK(tried > 0);
    }
}

}  // namespace
}  // namespace hetune
