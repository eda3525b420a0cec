#include "runtime/trial/op_bench.h"

#include <algorithm>
#include <set>

#include "kernel_templates/catalogue.h"
#include "planner/plan/plan_text.h"

namespace hetune {
namespace {

constexpr int64_t kMostCopyBytes = int64_t{1} << 30;
constexpr size_t kMostCopies = 64;
constexpr int kLeastLaunches = 8;  // of a batch: a graph's own launch is shared by them
constexpr double kBatchUs = 50e3;  // a batch need not be longer

const std::vector<TemplateParam>& params_of(const Plan& plan, const PlanStep& step) {
    return find_template(plan.spec(step).name)->params;
}

// Weights, KV caches and their pages, which BenchMemory has for all candidates.
bool is_shared(BufferRole role) {
    return is_weight(role) || role == BufferRole::kKv || role == BufferRole::kPages;
}

bool reads(const TemplateParam& param) {
    return param.role != ParamRole::kOutput && param.role != ParamRole::kWeights;
}

const PlanBuffer& buffer_of(const Plan& plan, const PlanArg& arg) {
    return plan.buffers[static_cast<size_t>(arg.buffer)];
}

size_t bytes_of(const PlanArg& arg, const Buffer& buffer) {
    return arg.bytes > 0 ? static_cast<size_t>(arg.bytes)
                         : buffer.bytes() - static_cast<size_t>(arg.offset);
}

// Calls use(step, parameter, arg) for each argument that an op reads and did not write itself
// before, but for shared memory.
template <class Use>
void each_input(const Plan& op, const Use& use) {
    std::set<std::pair<int, int64_t>> written;
    for (size_t s = 0; s < op.steps.size(); ++s) {
        const PlanStep& step = op.steps[s];
        const auto& params = params_of(op, step);
        for (size_t p = 0; p < params.size(); ++p)
            if (reads(params[p]) && !is_shared(buffer_of(op, step.args[p]).role) &&
                !written.contains({step.args[p].buffer, step.args[p].offset}))
                use(s, p, step.args[p]);
        for (size_t p = 0; p < params.size(); ++p)
            if (params[p].role == ParamRole::kOutput)
                written.insert({step.args[p].buffer, step.args[p].offset});
    }
}

std::vector<std::byte> downloaded(Device& device, const Buffer& buffer, size_t offset,
                                  size_t bytes) {
    std::vector<std::byte> content(bytes);
    device.download(content, buffer, offset);
    return content;
}

}  // namespace

OpInputs read_inputs(Device& device, const PlanRunner& runner, const TuningTarget& target) {
    OpInputs inputs;
    const Plan& op = target.candidates[0].plan;
    each_input(op, [&](size_t s, size_t p, const PlanArg& arg) {
        const Buffer& buffer = runner.buffer(arg.buffer);
        const PlanBuffer& planned = buffer_of(op, arg);
        if (planned.role == BufferRole::kScratch || planned.role == BufferRole::kLogits)
            inputs.regions[{s, p}] =
                downloaded(device, buffer, static_cast<size_t>(arg.offset), bytes_of(arg, buffer));
        else if (!inputs.buffers.contains(planned.name))
            inputs.buffers[planned.name] = downloaded(device, buffer, 0, buffer.bytes());
    });
    return inputs;
}

OpBench::OpBench(Device& device, const BenchMemory& memory, const TuningTarget& target,
                 OpInputs inputs)
    : device_(device), memory_(memory), target_(target), inputs_(std::move(inputs)) {
    make_copies();
}

// So many that one round reads more than twice what the last cache holds.
void OpBench::make_copies() {
    const Plan& op = target_.candidates[0].plan;
    std::map<std::string, const PlanBuffer*> rotating;
    int64_t read = 0, copied = 0;
    for (const PlanStep& step : op.steps) {
        const Roofline line = roofline(step.cost, device_.arch(), memory_.context());
        read += line.bytes;
        for (const PlanArg& arg : step.args)
            if (is_shared(buffer_of(op, arg).role))
                rotating.emplace(buffer_of(op, arg).name, &buffer_of(op, arg));
    }
    for (const auto& [name, buffer] : rotating)
        copied += static_cast<int64_t>(memory_.find(*buffer)->bytes());
    const int64_t beyond = 2 * device_.arch().cache_bytes;
    while (!rotating.empty() && static_cast<int64_t>(rotation()) * read < beyond &&
           rotation() < kMostCopies && static_cast<int64_t>(rotation()) * copied < kMostCopyBytes) {
        auto& copy = copies_.emplace_back();
        for (const auto& [name, buffer] : rotating) {
            const Buffer& original = *memory_.find(*buffer);
            auto made = device_.allocate(original.bytes());
            device_.upload(*made, 0, downloaded(device_, original, 0, original.bytes()));
            copy[name] = std::move(made);
        }
    }
}

OpBench::Buffers OpBench::buffers_of(const Plan& plan, std::vector<std::unique_ptr<Buffer>>& own) {
    std::set<int> used;
    for (const PlanStep& step : plan.steps)
        for (const PlanArg& arg : step.args) used.insert(arg.buffer);
    Buffers buffers(plan.buffers.size(), nullptr);
    for (const int index : used) {
        const PlanBuffer& planned = plan.buffers[static_cast<size_t>(index)];
        Buffer*& buffer = buffers[static_cast<size_t>(index)];
        if (is_shared(planned.role)) buffer = memory_.find(planned);
        if (buffer != nullptr) continue;
        const int64_t bytes =
            planned.role == BufferRole::kState ? memory_.state_bytes(planned) : planned.bytes;
        own.push_back(device_.allocate(static_cast<size_t>(std::max<int64_t>(bytes, 1))));
        buffer = own.back().get();
        device_.fill(*buffer, 0, buffer->bytes(), 0);
    }
    return buffers;
}

void OpBench::put_inputs(const Plan& plan, const Buffers& buffers) {
    each_input(plan, [&](size_t s, size_t p, const PlanArg& arg) {
        Buffer& buffer = *buffers[static_cast<size_t>(arg.buffer)];
        const PlanBuffer& planned = buffer_of(plan, arg);
        if (const auto whole = inputs_.buffers.find(planned.name); whole != inputs_.buffers.end()) {
            if (whole->second.size() == buffer.bytes()) device_.upload(buffer, 0, whole->second);
        } else if (const auto region = inputs_.regions.find({s, p});
                   region != inputs_.regions.end() &&
                   region->second.size() == bytes_of(arg, buffer)) {
            device_.upload(buffer, static_cast<size_t>(arg.offset), region->second);
        }
    });
}

OpBench::Timed OpBench::prepare(const TuningCandidate& candidate, const LoadedKernels& kernels) {
    Timed timed;
    const Plan& plan = candidate.plan;
    Buffers buffers = buffers_of(plan, timed.own_);
    put_inputs(plan, buffers);
    for (size_t copy = 0; copy < rotation(); ++copy) {
        if (copy > 0)
            for (size_t i = 0; i < buffers.size(); ++i)
                if (const auto at = copies_[copy - 1].find(plan.buffers[i].name);
                    at != copies_[copy - 1].end())
                    buffers[i] = at->second.get();
        timed.bound_.push_back(std::make_unique<BoundPlan>(device_, plan, kernels, buffers));
    }
    const auto launch = [&](int index) {
        timed.bound_[static_cast<size_t>(index) % timed.bound_.size()]->launch(plan.options.rows, 0,
                                                                               plan.steps.size());
    };
    const double once_us = std::max(1e3 * device_.time_ms([&] { launch(0); }), 1e-3);
    const int wanted = std::max(kLeastLaunches, static_cast<int>(rotation()));
    timed.launches_ = std::clamp(static_cast<int>(kBatchUs / once_us), 1, wanted);
    timed.graph_ = device_.capture([&] {
        for (int i = 0; i < timed.launches_; ++i) launch(i);
    });
    return timed;
}

double OpBench::Timed::time_us(Device& device) const {
    return 1e3 * device.time_ms([&] { device.replay(*graph_); }) / launches_;
}

}  // namespace hetune
