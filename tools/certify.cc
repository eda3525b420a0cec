// hetune certify: the trials of a model's kernels on this device.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "runtime/api/model_host.h"
#include "runtime/load/model_plans.h"
#include "tools/command.h"
#include "tools/json_output.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/terminal.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

struct CertifyArguments {
    ModelArguments model;
    bool redo = false;
    bool json = false;
};

Json report_json(const Model& model, const std::vector<CertifiedKernel>& kernels) {
    Json list = Json::array();
    for (const CertifiedKernel& kernel : kernels) {
        Json one = {{"kernel", kernel.spec.to_string()},
                    {"template", kernel.spec.name},
                    {"object", kernel.object.hex()},
                    {"fresh", kernel.fresh}};
        one.update(to_json(kernel.certificate));
        list.push_back(std::move(one));
    }
    return {{"model", model.info().name},
            {"backend", model.info().backend},
            {"arch", model.info().arch},
            {"device", model.info().device},
            {"refused", model.info().kernels_refused},
            {"seconds", model.info().certify_seconds},
            {"kernels", std::move(list)}};
}

void print_report(const Model& model, const std::vector<CertifiedKernel>& kernels) {
    fmt::print("{:<24} {:<14} {:>8} {:>10} {:>10} {:>10} {:>8}\n", "kernel", "output", "samples",
               "worst", "mean", "allowed", "ms");
    double ms = 0, launch_ms = 0;
    int fresh = 0;
    for (const CertifiedKernel& kernel : kernels) {
        const Certificate& certificate = kernel.certificate;
        ms += kernel.fresh ? certificate.ms : 0;
        launch_ms += kernel.fresh ? certificate.launch_ms : 0;
        fresh += kernel.fresh ? 1 : 0;
        bool first = true;
        for (const CertifiedOutput& output : certificate.outputs) {
            fmt::print("{:<24} {:<14} {:>8} {:>10.3g} {:>10.3g} {:>10.3g} {:>8}\n",
                       kernel.spec.name, output.name, output.samples, output.worst, output.mean,
                       output.tolerance, first ? fmt::format("{:.1f}", certificate.ms) : "");
            first = false;
        }
        if (!certificate.passed())
            fmt::print("{:<24} failed: {}\n", first ? kernel.spec.name : "", certificate.failure);
    }
    fmt::print("\n{} kernels, {} tried now in {:.0f} ms ({:.0f} ms of it in kernels), {} refused\n",
               kernels.size(), fresh, ms, launch_ms, model.info().kernels_refused);
}

int run(CertifyArguments& args) {
    args.model.options.certify = args.redo ? "always" : "once";
    args.model.options.all_logits = args.model.options.embeddings = true;
    const std::shared_ptr<ModelHost> host = args.model.load_host();
    const Model model(host);
    if (!host->loaded)
        throw std::runtime_error(
            "--backend reference has no kernels: it is what they are compared with");
    if (!args.json) tell("{}\n", device_line(model.info()));
    if (args.json)
        fmt::print("{}\n", json_text(report_json(model, host->loaded->certificates())));
    else
        print_report(model, host->loaded->certificates());
    return model.info().kernels_refused == 0 ? 0 : 1;
}

const RegisterCommand kCertify{
    "certify", "Shows how a model's kernels did when they were tried out on this device",
    [](CLI::App& app) {
        auto args = std::make_shared<CertifyArguments>();
        args->model.add_to(app);
        app.get_option("--certify")->group("");  // --redo says it better here
        app.add_flag("--redo", args->redo, "try all of them again");
        app.add_option("--parallel", args->model.options.parallel,
                       "also those of steps that decode for up to so many sequences at once")
            ->check(whole_number(1, kMostSequences))
            ->capture_default_str();
        app.add_flag("--json", args->json, "print JSON, with the errors of each row mod 16");
        app.footer(
            "A kernel is tried once for its code, the device's arch and the driver: at its real "
            "shape,\n"
            "on made weights and activations, its results compared with the "
            "oracle's.\n"
            "The error is relative to the largest value. Exit code 1 where a kernel is refused; "
            "then\n"
            "the planner's next variant is in use.\n\n"
            "Example:\n  hetune certify model.gguf --redo");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
