#include "runtime/trial/op_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <sstream>

#include "kernel_templates/catalogue.h"
#include "planner/plan/plan_text.h"
#include "runtime/trial/samples.h"

namespace hetune {
namespace {

constexpr uint8_t kPoison = 0xff;  // NaN in every float format
constexpr int64_t kMostCopyBytes = int64_t{1} << 30;
constexpr size_t kMostCopies = 64;
constexpr int kLeastLaunches = 8;  // of a batch: a graph's own launch is shared by them
constexpr double kBatchUs = 50e3;  // a batch need not be longer

const std::vector<TemplateParam>& params_of(const Plan& plan, const PlanStep& step) {
    return find_template(plan.spec(step).name)->params;
}

bool is_kept(BufferRole role) { return role == BufferRole::kKv || role == BufferRole::kState; }

bool reads(const TemplateParam& param) {
    return param.role != ParamRole::kOutput && param.role != ParamRole::kWeights;
}
bool writes(const TemplateParam& param) { return !param.type.starts_with("const "); }

const PlanBuffer& buffer_of(const Plan& plan, const PlanArg& arg) {
    return plan.buffers[static_cast<size_t>(arg.buffer)];
}

size_t bytes_of(const PlanArg& arg, const Buffer& buffer) {
    return arg.bytes > 0 ? static_cast<size_t>(arg.bytes)
                         : buffer.bytes() - static_cast<size_t>(arg.offset);
}

// Calls use(step, parameter, arg) for what an op reads and did not write itself before.
template <class Use>
void each_input(const Plan& op, const Use& use) {
    std::set<std::pair<int, int64_t>> written;
    for (size_t s = 0; s < op.steps.size(); ++s) {
        const PlanStep& step = op.steps[s];
        const auto& params = params_of(op, step);
        for (size_t p = 0; p < params.size(); ++p)
            if (reads(params[p]) && !is_weight(buffer_of(op, step.args[p]).role) &&
                !written.contains({step.args[p].buffer, step.args[p].offset}))
                use(s, p, step.args[p]);
        for (size_t p = 0; p < params.size(); ++p)
            if (params[p].role == ParamRole::kOutput)
                written.insert({step.args[p].buffer, step.args[p].offset});
    }
}

// What of an op others see: its outputs but for those that its own later steps read, and states.
template <class Use>
void each_output(const Plan& op, const Use& use) {
    for (size_t s = 0; s < op.steps.size(); ++s) {
        const auto& params = params_of(op, op.steps[s]);
        for (size_t p = 0; p < params.size(); ++p) {
            const PlanArg& arg = op.steps[s].args[p];
            const BufferRole role = buffer_of(op, arg).role;
            if (!writes(params[p]) || role == BufferRole::kStep) continue;
            if (!is_kept(role) && params[p].role != ParamRole::kOutput) continue;
            bool internal = false;
            for (size_t later = s + 1; later < op.steps.size(); ++later)
                for (size_t q = 0; q < op.steps[later].args.size(); ++q)
                    internal |= !is_kept(role) && reads(params_of(op, op.steps[later])[q]) &&
                                op.steps[later].args[q].buffer == arg.buffer &&
                                op.steps[later].args[q].offset == arg.offset;
            if (!internal) use(s, p, arg);
        }
    }
}

std::string type_of(const KernelSpec& spec, const TemplateParam& param) {
    if (param.type.starts_with("float")) return "float";
    if (param.type.starts_with("XBlock")) return "xblock";
    const auto constant = [&](const char* name) {
        const auto at = spec.constants.find(name);
        return at == spec.constants.end() ? std::string() : at->second;
    };
    if (param.type.starts_with("Kv::")) {
        const std::string kv = constant("Kv");
        if (kv == "KvQ8") return "q8 " + constant("kKvHeads") + " " + constant("kHeadSize");
        return kv == "KvF16" ? "f16" : kv == "KvBF16" ? "bf16" : "float";
    }
    if (param.type.starts_with("void"))
        return constant("kQuantisedOutput") == "true" ? "xblock" : "float";
    return "int";
}

float half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 31)
        return mantissa != 0 ? std::numeric_limits<float>::quiet_NaN() : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
    return sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

template <class T>
T at(const std::vector<std::byte>& bytes, size_t index) {
    T value;
    std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
    return value;
}

// XBlock (kernel_templates/quant/tile.h): scale, three sums, 32 signed bytes.
void append_block(const std::vector<std::byte>& bytes, size_t block, std::vector<float>& values) {
    constexpr size_t kBytes = 48, kQuants = 16;
    float scale;
    std::memcpy(&scale, bytes.data() + block * kBytes, sizeof scale);
    for (size_t i = 0; i < 32; ++i)
        values.push_back(
            scale * static_cast<float>(static_cast<int8_t>(bytes[block * kBytes + kQuants + i])));
}

std::vector<float> values_of(const OpOutput& output) {
    std::vector<float> values;
    if (output.type.starts_with("q8 ")) {
        KvShape shape{"KvQ8", 0, 0};
        std::istringstream(output.type.substr(3)) >> shape.heads >> shape.size;
        return kv_values(shape, output.bytes);
    }
    if (output.type == "float")
        for (size_t i = 0; i < output.bytes.size() / 4; ++i)
            values.push_back(at<float>(output.bytes, i));
    if (output.type == "xblock")
        for (size_t i = 0; i < output.bytes.size() / 48; ++i) append_block(output.bytes, i, values);
    if (output.type == "f16")
        for (size_t i = 0; i < output.bytes.size() / 2; ++i)
            values.push_back(half(at<uint16_t>(output.bytes, i)));
    if (output.type == "bf16")
        for (size_t i = 0; i < output.bytes.size() / 2; ++i) {
            const uint32_t bits = uint32_t{at<uint16_t>(output.bytes, i)} << 16;
            float value;
            std::memcpy(&value, &bits, sizeof value);
            values.push_back(value);
        }
    return values;
}

double error_of(const OpOutput& wanted, const OpOutput& got) {
    constexpr double kInfinite = std::numeric_limits<double>::infinity();
    if (wanted.type != got.type || wanted.bytes.size() != got.bytes.size()) return kInfinite;
    if (wanted.type == "int") return wanted.bytes == got.bytes ? 0 : kInfinite;
    const std::vector<float> a = values_of(wanted), b = values_of(got);
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        if (!(d <= std::numeric_limits<double>::max())) return kInfinite;
        difference = std::max(difference, d);
        size = std::max(size, std::abs(static_cast<double>(a[i])));
    }
    return size > 0 ? difference / size : difference;
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

double output_error(const std::vector<OpOutput>& wanted, const std::vector<OpOutput>& got,
                    std::string& where) {
    if (wanted.size() != got.size()) return std::numeric_limits<double>::infinity();
    double worst = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
        double error = error_of(wanted[i], got[i]);
        if (wanted[i].type == "xblock" || wanted[i].type.starts_with("q8 "))
            error *= kMostFloatError / kMostBlockError;
        if (error > worst) {
            worst = error;
            where = wanted[i].name;
        }
    }
    return worst;
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
            if (is_weight(buffer_of(op, arg).role) || buffer_of(op, arg).role == BufferRole::kKv)
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
        if (is_weight(planned.role) || planned.role == BufferRole::kKv)
            buffer = memory_.find(planned);
        if (buffer != nullptr) continue;
        own.push_back(device_.allocate(static_cast<size_t>(std::max<int64_t>(planned.bytes, 1))));
        buffer = own.back().get();
        device_.fill(*buffer, 0, buffer->bytes(), planned.role == BufferRole::kState ? 0 : kPoison);
    }
    return buffers;
}

void OpBench::put_inputs(const Plan& plan, const Buffers& buffers, bool shared_kv) {
    each_input(plan, [&](size_t s, size_t p, const PlanArg& arg) {
        Buffer& buffer = *buffers[static_cast<size_t>(arg.buffer)];
        const PlanBuffer& planned = buffer_of(plan, arg);
        if (planned.role == BufferRole::kKv && shared_kv) return;
        if (const auto whole = inputs_.buffers.find(planned.name); whole != inputs_.buffers.end()) {
            if (whole->second.size() == buffer.bytes()) device_.upload(buffer, 0, whole->second);
        } else if (const auto region = inputs_.regions.find({s, p});
                   region != inputs_.regions.end() &&
                   region->second.size() == bytes_of(arg, buffer)) {
            device_.upload(buffer, static_cast<size_t>(arg.offset), region->second);
        }
    });
}

void OpBench::poison_new_rows(const Plan& plan, const Buffers& buffers) {
    const auto step = std::ranges::find(plan.buffers, BufferRole::kStep, &PlanBuffer::role);
    if (step == plan.buffers.end() || !inputs_.buffers.contains(step->name)) return;
    const auto position = at<int32_t>(inputs_.buffers.at(step->name), 0);  // of StepState
    for (const PlanStep& one : plan.steps)
        for (size_t p = 0; p < one.args.size(); ++p) {
            const PlanBuffer& planned = buffer_of(plan, one.args[p]);
            if (planned.role != BufferRole::kKv || !writes(params_of(plan, one)[p])) continue;
            const auto row_bytes = static_cast<size_t>(planned.bytes_per_context);
            device_.fill(*buffers[static_cast<size_t>(one.args[p].buffer)],
                         static_cast<size_t>(position) * row_bytes,
                         static_cast<size_t>(plan.options.rows) * row_bytes, kPoison);
        }
}

std::vector<OpOutput> OpBench::run(const TuningCandidate& candidate, const LoadedKernels& kernels) {
    std::vector<std::unique_ptr<Buffer>> own;
    const Plan& plan = candidate.plan;
    Buffers buffers = buffers_of(plan, own);
    for (size_t i = 0; i < buffers.size(); ++i)
        if (buffers[i] != nullptr && plan.buffers[i].role == BufferRole::kKv) {
            own.push_back(device_.allocate(buffers[i]->bytes()));
            buffers[i] = own.back().get();
        }
    put_inputs(plan, buffers, false);
    poison_new_rows(plan, buffers);
    BoundPlan bound(device_, plan, kernels, buffers);
    bound.launch(plan.options.rows, 0, plan.steps.size());
    device_.synchronize();
    std::vector<OpOutput> outputs;
    each_output(plan, [&](size_t s, size_t p, const PlanArg& arg) {
        const Buffer& buffer = *buffers[static_cast<size_t>(arg.buffer)];
        const TemplateParam& param = params_of(plan, plan.steps[s])[p];
        const std::string type = type_of(plan.spec(plan.steps[s]), param);
        // Counters, which only some candidates have, end as they began.
        if (type == "int" && buffer_of(plan, arg).role == BufferRole::kState) return;
        outputs.push_back(
            {plan.steps[s].label + ", " + param.name, type,
             downloaded(device_, buffer, static_cast<size_t>(arg.offset), bytes_of(arg, buffer))});
    });
    return outputs;
}

std::string OpBench::problem(const TuningCandidate& candidate, const LoadedKernels& kernels) {
    if (wanted_.empty()) wanted_ = run(target_.candidates[0], kernels);
    std::string where;
    const double error = output_error(wanted_, run(candidate, kernels), where);
    if (error <= kMostFloatError) return {};
    return fmt::format("{} differs from the default's by {:.2g} of its largest value", where,
                       error);
}

OpBench::Timed OpBench::prepare(const TuningCandidate& candidate, const LoadedKernels& kernels) {
    Timed timed;
    const Plan& plan = candidate.plan;
    Buffers buffers = buffers_of(plan, timed.own_);
    put_inputs(plan, buffers, true);
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
