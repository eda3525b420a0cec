#include "runtime/certify/trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "runtime/reference/primitives.h"

namespace hetune {
namespace {

constexpr size_t kGuard = 256;  // bytes before and behind a buffer; keeps its alignment
constexpr std::byte kCanary{0xc5};
constexpr uint32_t kPoison = 0x7ff7a5a5;  // no number as a float, and no small one as an integer

std::vector<std::byte> poisoned(size_t bytes) {
    std::vector<std::byte> memory(bytes);
    for (size_t i = 0; i < bytes; ++i)
        memory[i] = static_cast<std::byte>(kPoison >> (8 * (i % 4)) & 0xff);
    return memory;
}

uint32_t word_at(std::span<const std::byte> bytes, size_t at) {
    uint32_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    return word;
}

bool finite_at(std::span<const std::byte> bytes, size_t at) {
    float value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return std::isfinite(value);
}

// A step of few rows is tried whole, of more without the last three.
int64_t rows_of_trial(int64_t full) { return full > 8 ? full - 3 : full; }

}  // namespace

void Comparison::add_block(int64_t row, const HostXBlock& block, std::span<const float> wanted) {
    double sums[2] = {};
    for (size_t i = 0; i < 32; ++i) {
        const double got = static_cast<double>(block.scale) * block.q[i];
        sums[i / 16] += got;
        add(row + static_cast<int64_t>(i), got, static_cast<double>(wanted[i]));
    }
    // The sums are of up to 32 values: as far off as they are is as far off as a value may be.
    const auto sum = [&](double got, double exact) { add(row, got - exact, 0); };
    sum(static_cast<double>(block.sum), sums[0] + sums[1]);
    sum(static_cast<double>(block.sum_low), sums[0]);
    sum(static_cast<double>(block.sum_high), sums[1]);
}

CertifiedOutput Comparison::result() const {
    CertifiedOutput output{
        .name = name_, .samples = static_cast<int64_t>(values_.size()), .tolerance = tolerance_};
    double size = 0;
    for (const Value& v : values_) size = std::max(size, std::abs(v.wanted));
    if (tolerance_ == kExact || size == 0) size = 1;
    for (const Value& v : values_) {
        double error = std::abs(v.got - v.wanted) / size;
        if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
        output.worst = std::max(output.worst, error);
        output.mean += error / static_cast<double>(values_.size());
        double& of_class = output.by_row[static_cast<size_t>(v.row % 16)];
        of_class = std::max(of_class, error);
    }
    return output;
}

Trial::Trial(const TrialSubject& subject)
    : subject_(subject), info_(*find_template(subject.step.spec.name)), random_(20260) {
    const auto param = std::ranges::find(info_.params, ParamRole::kStep, &TemplateParam::role);
    bool one_row = false;
    if (param != info_.params.end()) {
        const auto at = static_cast<size_t>(param - info_.params.begin());
        one_row = subject.step.args[at].buffer == subject.plan.last_step_buffer;
    }
    full_rows_ = one_row ? 1 : subject.plan.options.rows;
    rows_ = rows_of_trial(full_rows_);
}

const std::string& Trial::text(const std::string& constant) const {
    return subject_.step.spec.constants.at(constant);
}
int64_t Trial::number(const std::string& constant) const { return std::stoll(text(constant)); }
double Trial::real(const std::string& constant) const { return std::stod(text(constant)); }

size_t Trial::index_of(std::string_view param) const {
    const auto found = std::ranges::find(info_.params, param, &TemplateParam::name);
    if (found == info_.params.end())
        throw std::logic_error(fmt::format("{} has no parameter {}", info_.name, param));
    return static_cast<size_t>(found - info_.params.begin());
}

const PlanBuffer& Trial::plan_buffer(std::string_view param) const {
    return subject_.plan.buffers[static_cast<size_t>(subject_.step.args[index_of(param)].buffer)];
}

std::vector<float> Trial::weight_row(std::string_view param, int64_t row) const {
    return reference::weight_row(subject_.file.tensor(plan_buffer(param).tensor), row);
}
int64_t Trial::weight_rows(std::string_view param) const {
    return subject_.file.tensor(plan_buffer(param).tensor).rows();
}
std::vector<float> Trial::weight_vector(std::string_view param) const {
    const Tensor& tensor = subject_.file.tensor(plan_buffer(param).tensor);
    std::vector<float> values(tensor.data.size() / sizeof(float));
    std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(float));
    return values;
}

void Trial::put_bytes(std::string_view param, std::span<const std::byte> bytes) {
    arguments_[index_of(param)].before.assign(bytes.begin(), bytes.end());
}

std::vector<float> Trial::put_floats(std::string_view param, int64_t count) {
    std::vector<float> values = seeded_floats(static_cast<size_t>(count), random_);
    put(param, values);
    return values;
}

std::vector<float> Trial::put_activations(std::string_view param, int64_t rows, int64_t cols,
                                          bool quantised) {
    std::vector<float> values = seeded_floats(static_cast<size_t>(rows * cols), random_);
    if (quantised)
        put(param, quantise(values));
    else
        put(param, values);
    return values;
}

void Trial::out(std::string_view param, Check check, size_t written, size_t all) {
    Argument& argument = arguments_[index_of(param)];
    argument.before = poisoned(all);
    argument.check = check;
    argument.written = written;
}
void Trial::out_floats(std::string_view param, int64_t width) {
    out(param, Check::kFloats, static_cast<size_t>(rows_ * width) * 4,
        static_cast<size_t>(full_rows_ * width) * 4);
}
void Trial::out_blocks(std::string_view param, int64_t width) {
    out(param, Check::kBlocks, static_cast<size_t>(rows_ * width / 32) * sizeof(HostXBlock),
        static_cast<size_t>(full_rows_ * width / 32) * sizeof(HostXBlock));
}
void Trial::out_words(std::string_view param, int64_t written, int64_t all) {
    out(param, Check::kWords, static_cast<size_t>(written) * 4, static_cast<size_t>(all) * 4);
}
void Trial::out_all_floats(std::string_view param, int64_t count) {
    out(param, Check::kFloats, static_cast<size_t>(count) * 4, static_cast<size_t>(count) * 4);
}
void Trial::out_all_blocks(std::string_view param, int64_t count) {
    const auto bytes = static_cast<size_t>(count / 32) * sizeof(HostXBlock);
    out(param, Check::kBlocks, bytes, bytes);
}
void Trial::scratch(std::string_view param, int64_t bytes) {
    out(param, Check::kNone, 0, static_cast<size_t>(bytes));
}

std::vector<uint64_t> Trial::place_arguments() {
    Device& device = subject_.device;
    std::vector<uint64_t> pointers;
    for (size_t i = 0; i < info_.params.size(); ++i) {
        const PlanArg& arg = subject_.step.args[i];
        const PlanBuffer& planned = subject_.plan.buffers[static_cast<size_t>(arg.buffer)];
        auto put = arguments_.find(i);
        if (put == arguments_.end()) {
            if (Buffer* loaded = subject_.weights(planned.name)) {
                pointers.push_back(loaded->address() + static_cast<uint64_t>(arg.offset));
                continue;
            }
            // A step's state, or a pointer that the constants switch off.
            put = arguments_.emplace(i, Argument{}).first;
        }
        Argument& argument = put->second;
        if (info_.params[i].role == ParamRole::kStep) {
            const int32_t state[2] = {static_cast<int32_t>(position_), static_cast<int32_t>(rows_)};
            const auto bytes = std::as_bytes(std::span(state));
            argument.before.assign(bytes.begin(), bytes.end());
        }
        const size_t bytes = argument.before.size();
        if (argument.buffer == nullptr || argument.buffer->bytes() != bytes + 2 * kGuard)
            argument.buffer = device.allocate(bytes + 2 * kGuard);
        std::vector<std::byte> memory(bytes + 2 * kGuard, kCanary);
        std::ranges::copy(argument.before, memory.begin() + kGuard);
        device.upload(*argument.buffer, 0, memory);
        pointers.push_back(argument.buffer->address() + kGuard);
    }
    return pointers;
}

void Trial::launch() {
    const std::vector<uint64_t> pointers = place_arguments();
    LaunchShape shape{.threads = subject_.step.threads};
    std::memcpy(shape.groups, subject_.step.groups, sizeof shape.groups);
    if (subject_.step.rows_axis >= 0)
        shape.groups[subject_.step.rows_axis] = static_cast<uint32_t>(
            (rows_ + subject_.step.rows_per_group - 1) / subject_.step.rows_per_group);
    const auto start = std::chrono::steady_clock::now();
    try {
        subject_.device.launch(subject_.module, shape, std::as_bytes(std::span(pointers)));
        subject_.device.synchronize();
    } catch (const DeviceError& error) {
        throw TrialFailure(error.what());
    }
    launch_ms_ +=
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    for (const auto& entry : arguments_) read_back(entry.first);
}

void Trial::read_back(size_t index) {
    Argument& argument = arguments_.at(index);
    const size_t bytes = argument.before.size();
    std::vector<std::byte> memory(bytes + 2 * kGuard);
    subject_.device.download(memory, *argument.buffer, 0);
    for (size_t i = 0; i < kGuard; ++i)
        if (memory[i] != kCanary || memory[kGuard + bytes + i] != kCanary)
            fail(index,
                 fmt::format("written {} the buffer", memory[i] != kCanary ? "before" : "behind"));
    argument.after.assign(memory.begin() + kGuard, memory.end() - kGuard);
    const bool input = info_.params[index].role != ParamRole::kOutput &&
                       info_.params[index].role != ParamRole::kInOut &&
                       info_.params[index].role != ParamRole::kState;
    if (input && argument.check == Check::kNone && argument.after != argument.before)
        fail(index, "an input was changed");
    if (argument.check == Check::kNone) return;
    for (size_t at = 0; at + 4 <= bytes; at += 4) {
        const bool poison = word_at(argument.after, at) == kPoison;
        if (at < argument.written && poison)
            fail(index,
                 fmt::format("element {} of {} is not written", at / 4, argument.written / 4));
        if (at >= argument.written && !poison)
            fail(index, fmt::format("element {} is written, beyond the {} of the step", at / 4,
                                    argument.written / 4));
        const bool number = argument.check == Check::kFloats ||
                            (argument.check == Check::kBlocks && at % sizeof(HostXBlock) < 16);
        if (at < argument.written && number && !finite_at(argument.after, at))
            fail(index, fmt::format("element {} is NaN or infinite", at / 4));
    }
}

void Trial::fail(size_t index, const std::string& what) const {
    throw TrialFailure(fmt::format("{}: {}", info_.params[index].name, what));
}

std::span<const std::byte> Trial::result(std::string_view param) const {
    return arguments_.at(index_of(param)).after;
}

Comparison& Trial::compare(const std::string& output, double tolerance) {
    auto& known = comparisons_by_name_[output];
    if (known == nullptr) {
        comparisons_.push_back(std::make_unique<Comparison>(output, tolerance));
        known = comparisons_.back().get();
    }
    return *known;
}

void Trial::same(std::string_view output, int64_t row, int64_t got, int64_t wanted) {
    compare(std::string(output), kExact).add(row, got == wanted ? 0 : 1, 0);
}

void Trial::finish(std::vector<CertifiedOutput>& outputs) const {
    std::string wrong;
    for (const auto& comparison : comparisons_) {
        outputs.push_back(comparison->result());
        const CertifiedOutput& output = outputs.back();
        if (output.worst <= output.tolerance || !wrong.empty()) continue;
        std::string classes;
        for (size_t i = 0; i < output.by_row.size(); ++i)
            if (!(output.by_row[i] <= output.tolerance))
                classes += fmt::format("{}{}", classes.empty() ? "" : ", ", i);
        wrong = fmt::format("{}: error {:.3g} is above {:.3g}, in rows {} mod 16", output.name,
                            output.worst, output.tolerance, classes);
    }
    if (!wrong.empty()) throw TrialFailure(wrong);
}

}  // namespace hetune
