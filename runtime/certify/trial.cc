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
// What a kernel may not leave: of blocks a byte of -128, which no value is rounded to; of words no
// id and no count; else a NaN, which what is made of it would be, too.
constexpr uint8_t kBlockPoison = 0x80, kWordPoison = 0x7f, kNanPoison = 0xff;
constexpr uint32_t word_of(uint8_t byte) { return byte * 0x01010101u; }

bool all_canaries(std::span<const std::byte> bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == kCanary; });
}

std::span<const uint32_t> words_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const uint32_t*>(bytes.data()), bytes.size() / 4};
}

bool is_finite(uint32_t word) { return (word & 0x7f800000) != 0x7f800000; }

// The first that is wrong, or all of them. Runs over what is right by the cache line, which
// compilers make vector code of.
template <class Right>
size_t first_wrong(std::span<const uint32_t> words, Right&& right) {
    constexpr size_t kRun = 1024;
    for (size_t at = 0; at < words.size(); at += kRun) {
        const auto run = words.subspan(at, std::min(kRun, words.size() - at));
        size_t good = 0;
        for (const uint32_t word : run) good += right(word) ? 1 : 0;
        if (good == run.size()) continue;
        return at + static_cast<size_t>(std::ranges::find_if_not(run, right) - run.begin());
    }
    return words.size();
}

struct Stopwatch {
    double ms() const {
        return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
            .count();
    }
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

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

void Comparison::add(int64_t row, double got, double wanted) {
    double apart = std::abs(got - wanted);
    if (std::isnan(apart)) apart = std::numeric_limits<double>::infinity();
    ++samples_;
    sum_ += apart;
    largest_ = std::max(largest_, std::abs(wanted));
    double& of_class = by_row_[row % 16];
    of_class = std::max(of_class, apart);
}

CertifiedOutput Comparison::result() const {
    CertifiedOutput output{.name = name_, .samples = samples_, .tolerance = tolerance_};
    if (samples_ == 0) return output;
    const double size = tolerance_ == kExact || largest_ == 0 ? 1 : largest_;
    output.mean = sum_ / size / static_cast<double>(samples_);
    for (size_t i = 0; i < output.by_row.size(); ++i) {
        output.by_row[i] = by_row_[i] / size;
        output.worst = std::max(output.worst, output.by_row[i]);
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

void Trial::keep(std::string_view param, std::shared_ptr<const void> owner,
                 std::span<const std::byte> bytes) {
    Argument& argument = arguments_[index_of(param)];
    if (argument.bytes != bytes.size()) argument.after.reset();
    argument.owner = std::move(owner);
    argument.before = bytes;
    argument.bytes = bytes.size();
}

std::span<const float> Trial::put_floats(std::string_view param, int64_t count) {
    return put(param, seeded_floats(static_cast<size_t>(count), random_));
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
    argument.bytes = all;
    argument.poisoned = true;
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

uint8_t Trial::poison_of(Check check) {
    return check == Check::kBlocks  ? kBlockPoison
           : check == Check::kWords ? kWordPoison
                                    : kNanPoison;
}

std::vector<uint64_t> Trial::place_arguments() {
    Device& device = subject_.on.device;
    std::vector<uint64_t> pointers;
    for (size_t i = 0; i < info_.params.size(); ++i) {
        const PlanArg& arg = subject_.step.args[i];
        const PlanBuffer& planned = subject_.plan.buffers[static_cast<size_t>(arg.buffer)];
        if (!arguments_.contains(i)) {
            if (Buffer* loaded = subject_.weights(planned.name)) {
                pointers.push_back(loaded->address() + static_cast<uint64_t>(arg.offset));
                continue;
            }
            // A step's state, or a pointer that the constants switch off.
            arguments_[i] = {};
        }
        if (info_.params[i].role == ParamRole::kStep)
            put(info_.params[i].name,
                std::vector<int32_t>{static_cast<int32_t>(position_), static_cast<int32_t>(rows_)});
        Argument& argument = arguments_[i];
        argument.buffer = device.allocate(argument.bytes + 2 * kGuard);
        Buffer& buffer = *argument.buffer;
        device.fill(buffer, 0, kGuard, static_cast<uint8_t>(kCanary));
        device.fill(buffer, kGuard + argument.bytes, kGuard, static_cast<uint8_t>(kCanary));
        if (argument.poisoned)
            device.fill(buffer, kGuard, argument.bytes, poison_of(argument.check));
        else
            device.upload(buffer, kGuard, argument.before);
        pointers.push_back(argument.buffer->address() + kGuard);
    }
    return pointers;
}

void Trial::launch() {
    {
        const Stopwatch waiting;
        const std::lock_guard turn(subject_.on.turn);
        waited_ms_ += waiting.ms();
        Device& device = subject_.on.device;
        // Also where something throws: memory is given back within the turn.
        const std::unique_ptr<Trial, void (*)(Trial*)> freed(this, [](Trial* trial) {
            for (auto& [place, argument] : trial->arguments_) argument.buffer.reset();
        });
        const std::vector<uint64_t> pointers = place_arguments();
        LaunchShape shape{.threads = subject_.step.threads};
        std::memcpy(shape.groups, subject_.step.groups, sizeof shape.groups);
        if (subject_.step.rows_axis >= 0)
            shape.groups[subject_.step.rows_axis] = static_cast<uint32_t>(
                (rows_ + subject_.step.rows_per_group - 1) / subject_.step.rows_per_group);
        const Stopwatch watch;
        try {
            device.launch(subject_.module, shape, std::as_bytes(std::span(pointers)));
            device.synchronize();
        } catch (const DeviceError& error) {
            throw TrialFailure(error.what());
        }
        launch_ms_ += watch.ms();
        for (const auto& entry : arguments_) read_back(entry.first);
    }
    for (const auto& entry : arguments_) look_at(entry.first);
}

void Trial::read_back(size_t index) {
    Argument& argument = arguments_.at(index);
    const ParamRole role = info_.params[index].role;
    const bool result = argument.poisoned || role == ParamRole::kOutput ||
                        role == ParamRole::kInOut || role == ParamRole::kState;
    const size_t same = result ? argument.first : argument.bytes;
    if (same > 0) compare_start(index, same);
    if (same > 0) compare_canary(index, 0, "before");
    if (result) {
        const size_t rest = argument.bytes - same + 2 * kGuard;
        if (argument.after == nullptr)
            argument.after = std::make_unique_for_overwrite<std::byte[]>(rest);
        // Behind a start that was compared there is no canary in front: one is put there.
        const size_t skipped = same > 0 ? kGuard : 0;
        std::fill_n(argument.after.get(), skipped, kCanary);
        subject_.on.device.download({argument.after.get() + skipped, rest - skipped},
                                    *argument.buffer, same + skipped);
    } else {
        compare_canary(index, kGuard + argument.bytes, "behind");
    }
    argument.buffer.reset();
}

void Trial::compare_start(size_t index, size_t bytes) {
    constexpr size_t kWindow = 64 << 10, kWindows = 8;
    const Argument& argument = arguments_.at(index);
    std::vector<std::byte> memory(std::min(kWindow, bytes));
    const size_t last = bytes - memory.size();
    for (size_t i = 0; i < (last == 0 ? 1 : kWindows); ++i) {
        const size_t at = i * last / (kWindows - 1);
        subject_.on.device.download(memory, *argument.buffer, kGuard + at);
        if (!std::ranges::equal(memory, argument.before.subspan(at, memory.size())))
            fail(index,
                 argument.first > 0 ? "what was there before was changed" : "an input was changed");
    }
}

void Trial::compare_canary(size_t index, size_t at, std::string_view side) {
    std::byte memory[kGuard];
    subject_.on.device.download(memory, *arguments_.at(index).buffer, at);
    if (!all_canaries(memory)) fail(index, fmt::format("written {} the buffer", side));
}

void Trial::look_at(size_t index) const {
    const Argument& argument = arguments_.at(index);
    if (argument.after == nullptr) return;
    const std::span<const std::byte> all(argument.after.get(),
                                         argument.bytes - argument.first + 2 * kGuard);
    if (!all_canaries(all.first(kGuard))) fail(index, "written before the buffer");
    if (!all_canaries(all.last(kGuard))) fail(index, "written behind the buffer");
    const auto after = all.subspan(kGuard, argument.bytes - argument.first);
    if (argument.check == Check::kNone) return;

    const uint32_t poison = word_of(poison_of(argument.check));
    const auto words = words_of(after), written = words.first(argument.written / 4);
    const size_t hole = first_wrong(written, [poison](uint32_t word) { return word != poison; });
    if (hole < written.size())
        fail(index, fmt::format("element {} of {} is not written", hole, written.size()));
    const size_t beyond = first_wrong(words.subspan(written.size()),
                                      [poison](uint32_t word) { return word == poison; });
    if (written.size() + beyond < words.size())
        fail(index, fmt::format("element {} is written, beyond the {} of the step",
                                written.size() + beyond, written.size()));
    size_t number = written.size();
    if (argument.check == Check::kFloats) number = first_wrong(written, is_finite);
    if (argument.check == Check::kBlocks)
        for (size_t at = 0; at < written.size() && number == written.size();
             at += sizeof(HostXBlock) / 4)
            for (size_t i = at; i < at + 4; ++i)
                if (!is_finite(written[i])) number = std::min(number, i);
    if (number < written.size()) fail(index, fmt::format("element {} is NaN or infinite", number));
}

void Trial::fail(size_t index, const std::string& what) const {
    throw TrialFailure(fmt::format("{}: {}", info_.params[index].name, what));
}

std::span<const std::byte> Trial::result(std::string_view param) const {
    const Argument& argument = arguments_.at(index_of(param));
    if (argument.after == nullptr)
        throw std::logic_error(fmt::format("{} is no result of {}", param, info_.name));
    return {argument.after.get() + kGuard, argument.bytes - argument.first};
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
