#include "runtime/trial/plan_runner.h"

#include <algorithm>

#include "runtime/load/step_state.h"

namespace hetune {

void load_kernels(Device& device, KernelLibrary& library, const Plan& plan, LoadedKernels& loaded) {
    std::vector<KernelSpec> wanted;
    for (const KernelSpec& spec : plan.kernels)
        if (!loaded.contains(spec)) wanted.push_back(spec);
    const std::vector<CodeObject> codes = library.get(wanted);
    for (size_t i = 0; i < wanted.size(); ++i) loaded.load(device, wanted[i], codes[i]);
}

PlanRunner::PlanRunner(Device& device, BenchMemory& memory, Plan plan, const LoadedKernels& kernels)
    : device_(device), memory_(memory) {
    memory.prepare(plan);
    for (const PlanBuffer& buffer : plan.buffers) {
        Buffer* shared = memory.find(buffer);
        if (shared == nullptr) {
            own_.push_back(
                device.allocate(static_cast<size_t>(std::max<int64_t>(buffer.bytes, 1))));
            shared = own_.back().get();
            device.fill(*shared, 0, shared->bytes(), 0);
        }
        buffers_.push_back(shared);
    }
    bound_ = std::make_unique<BoundPlan>(device, std::move(plan), kernels, buffers_);
}

void PlanRunner::set_step(int64_t position, std::span<const int32_t> tokens) {
    const bool decodes = plan().options.decodes();
    std::vector<StepRow> rows;
    for (size_t row = 0; row < tokens.size(); ++row) {
        const auto index = static_cast<int32_t>(row);
        rows.push_back({static_cast<int32_t>(position) + (decodes ? 0 : index),  //
                        decodes ? index : 0});
    }
    device_.upload(buffer(plan().step_buffer), 0,
                   std::as_bytes(std::span<const int32_t>(step_state(rows, memory_.strides()))));
    device_.upload(buffer(plan().tokens_buffer), 0, std::as_bytes(tokens));
}

void PlanRunner::set_last_step() {
    set_step(memory_.context() - (plan().options.decodes() ? 1 : rows()),
             some_tokens(rows(), plan().vocabulary));
}

std::vector<float> PlanRunner::logits_of(std::span<const int32_t> tokens) {
    memory_.reset_states();
    const auto all = static_cast<size_t>(rows());
    const size_t step = plan().options.decodes() ? 1 : all;
    for (size_t at = 0; at + step <= tokens.size(); at += step) {
        if (step < all)
            set_step(static_cast<int64_t>(at), std::vector<int32_t>(all, tokens[at]));
        else
            set_step(static_cast<int64_t>(at), tokens.subspan(at, step));
        bound_->run(rows());
    }
    std::vector<float> logits(static_cast<size_t>(plan().vocabulary));
    const auto skipped = plan().options.each_row() ? (all - 1) * logits.size() * 4 : 0;
    device_.download(std::as_writable_bytes(std::span(logits)), buffer(plan().logits_buffer),
                     skipped);
    return logits;
}

std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i)
        tokens.push_back(static_cast<int32_t>((i * 7919 + 13) % vocabulary));
    return tokens;
}

}  // namespace hetune
