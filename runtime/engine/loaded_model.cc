#include "runtime/engine/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/compile/stopwatch.h"

namespace hetune {

LoadedModel::LoadedModel(const ModelFile& file, Device& device, KernelLibrary& library,
                         TileStore* tiles, LoadOptions options, const LoadProgress& progress,
                         const LoadChecks& checks)
    : file_(file),
      device_(device),
      graph_(build_layer_graph(file)),
      options_(std::move(options)),
      memory_limit_(options_.memory_limit > 0 ? options_.memory_limit
                                              : static_cast<int64_t>(device.info().free_bytes)),
      weights_(device, file, graph_, tiles) {
    options_.prefill_rows = prefill_step(options_, device.arch()).rows;
    if (!device.info().graph_loops) options_.loops = false;
    Loading loading{library, progress, checks};
    do {
        Stopwatch watch;
        plans_ = model_plans(graph_, file, device.arch(), options_);
        times_.plan_ms += watch.lap();
    } while (!make_kernels(loading) || !certify_kernels(loading));

    // Behind the trials, which thus have the room of the weights to themselves.
    Stopwatch watch;
    weights_.load(plans_.buffers(), [&](size_t done, size_t total) {
        if (progress) progress("repack", done, total);
    });
    times_.repack_ms += watch.lap();
}

void LoadedModel::refuse(const KernelSpec& spec, const std::string& reason,
                         const LoadChecks& checks) {
    options_.refused[spec.to_string()] = reason;
    kernels_.erase(spec);
    if (checks.warn)
        checks.warn(fmt::format("{} is not used, the planner's next variant is: {}",
                                spec.to_string(), reason));
}

bool LoadedModel::make_kernels(Loading& loading) {
    Stopwatch watch;
    const std::vector<Plan>& plans = plans_.steps;
    const std::string device_name = device_.info().name;
    const ContextNeeds contexts{options_.context, options_.sequences, options_.state_snapshots,
                                state_checkpoints(options_)};
    check_memory(memory_needs(plans, contexts, 0), memory_limit_, device_name);
    const std::vector<KernelSpec> wanted = plans_.kernels();
    const auto made =
        loading.library.make(wanted, loading.checks.retry, [&](size_t done, size_t total) {
            if (loading.progress) loading.progress("compile", done, total);
        });
    times_.compile_ms += watch.lap();
    bool complete = true;
    int64_t code_bytes = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        code_bytes += static_cast<int64_t>(made[i].code.bytes.size());
        if (made[i].refused.empty()) continue;
        refuse(wanted[i], made[i].refused, loading.checks);
        complete = false;
    }
    if (!complete) return false;
    memory_ = memory_needs(plans, contexts, code_bytes);
    check_memory(memory_, memory_limit_, device_name);
    for (size_t i = 0; i < wanted.size(); ++i) kernels_.load(device_, wanted[i], made[i].code);
    times_.load_ms += watch.lap();
    return true;
}

bool LoadedModel::certify_kernels(Loading& loading) {
    if (loading.checks.certify == CertifyMode::kOff) return true;
    Stopwatch watch;
    // One step of each kernel stands for all; of plans for one row and for many, those for many.
    std::vector<const Plan*> plans;
    for (const Plan& sampler : plans_.samplers) plans.push_back(&sampler);
    for (const Plan& plan : plans_.steps) plans.insert(plans.begin(), &plan);
    std::map<KernelSpec, std::pair<const Plan*, const PlanStep*>> uses;
    for (const Plan* plan : plans)
        for (size_t i = 0; i < plan->kernels.size(); ++i)
            uses.emplace(plan->kernels[i], std::pair(plan, &plan->first_use(static_cast<int>(i))));
    TrialDevice on{.device = device_};
    std::vector<ToCertify> unknown;
    for (const auto& [spec, use] : uses) {
        if (std::ranges::find(certificates_, spec, &CertifiedKernel::spec) != certificates_.end())
            continue;
        const LoadedKernel& kernel = kernels_.at(spec);
        unknown.push_back({kernel.object, {on, *kernel.module, *use.first, *use.second, file_}});
    }
    size_t done = uses.size() - unknown.size();
    bool fresh = false;  // nothing is worth telling of a certificate that was there
    std::vector<CertifiedKernel> tried =
        certify(loading.library.store().facts(), unknown, loading.checks.certify,
                loading.checks.retry, [&](const CertifiedKernel& kernel) {
                    fresh |= kernel.fresh;
                    ++done;
                    if (fresh && loading.progress) loading.progress("certify", done, uses.size());
                });
    bool complete = true;
    for (CertifiedKernel& kernel : tried) {
        const Certificate& certificate = kernel.certificate;
        if (!certificate.passed()) {
            refuse(kernel.spec, "its trial failed: " + certificate.failure, loading.checks);
            complete = false;
        }
        certificates_.push_back(std::move(kernel));
    }
    times_.certify_ms += watch.lap();
    return complete;
}

Plan LoadedModel::plan_for(const StepKind& kind) const {
    return step_plan(graph_, file_, device_.arch(), options_, kind);
}

}  // namespace hetune
