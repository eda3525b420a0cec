// One kernel tried out: a plan's step at its real shape, on seeded activations and made weights,
// with poisoned outputs and a canary before and behind each buffer.
//
// Nothing of the model's file is used but the shapes and types of its tensors: a verdict on a
// kernel depends on the kernel alone. Made matrices and activations repeat after some rows, so that
// the oracle computes few products and all of a kernel's results are compared.
//
// A certifier puts inputs and outputs by the names of the template's parameters, launches, and
// compares. What it does not put is made here (weights, StepState). Everything that is wrong with
// the kernel throws TrialFailure; a DeviceError passes through, as it tells nothing of the kernel.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernel_templates/catalogue.h"
#include "planner/plan/plan.h"
#include "runtime/device/device.h"
#include "runtime/trial/comparison.h"
#include "runtime/trial/guarded_buffer.h"

namespace hetune {

class TrialFailure : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Trials may be prepared and judged at the same time; one of them at a time is on the device.
struct TrialDevice {
    Device& device;
    DeviceInfo info = device.info();
    std::mutex turn = {};
};

// What is tried out, and on what. All of it outlives the trial.
struct TrialSubject {
    TrialDevice& on;
    Module& module;
    const Plan& plan;
    const PlanStep& step;
    const ModelFile& file;  // shapes and types of tensors; its data is not read
    // Where in the context the first row of attention or a rotation stands; default: where its
    // certifier wants it.
    std::optional<int64_t> position = {};
    // Rows of the step, at most those of the plan; default: as many as find what a tail may break.
    std::optional<int64_t> rows = {};

    const KernelSpec& spec() const { return plan.spec(step); }
};

// A row of the step: where it stands in its sequence, and the slot of that.
struct TrialRow {
    int64_t position = 0;  // kEndedRow: of a sequence that has ended within a burst of steps
    int slot = 0;
};
constexpr int64_t kEndedRow = -1;

// Part of each certificate's key: raised when trials find more than before, so that kernels are
// tried again. Each certifier has a version of its own besides.
constexpr int kTrialVersion = 4;

class Trial {
  public:
    explicit Trial(const TrialSubject& subject);
    ~Trial();
    Trial(const Trial&) = delete;
    Trial& operator=(const Trial&) = delete;

    // Constants of the spec.
    const std::string& text(const std::string& constant) const;
    int64_t number(const std::string& constant) const;
    double real(const std::string& constant) const;
    bool flag(const std::string& constant) const { return text(constant) == "true"; }

    // Rows of the plan, and of this step: fewer where there are many, so that the tail is tried.
    int64_t full_rows() const { return full_rows_; }
    int64_t rows() const { return rows_; }
    // The launch's second dimension, at full rows.
    int64_t groups_y() const { return subject_.step.groups[1]; }
    // Of scratch and logits in the plan, at full rows.
    int64_t argument_bytes(std::string_view param) const {
        return subject_.step.args[index_of(param)].bytes;
    }
    // Whether each row is of a sequence of its own.
    bool decodes() const { return subject_.plan.options.decodes(); }
    // For certifiers of what can stand anywhere: at `usual`, unless the subject says where.
    int64_t stand_at(int64_t usual) const { return subject_.position.value_or(usual); }
    // As StepState has them. Unless they are set, rows stand in slot 0 from position 0 on. What a
    // kernel leaves in the rows of its outputs that belong to an ended row is not looked at.
    void set_rows(std::vector<TrialRow> rows, int64_t page_stride, int64_t state_stride);
    // The rows at whose multiples a sequence of a step of prompts begins: two at least, so that
    // there is room for one that fills.
    int64_t row_alignment() const;
    // One after another from a position on, in slot 0.
    void set_position(int64_t position);
    // The row whose output is wanted, in place of the last one.
    void want_row(int64_t row);

    // Row `row` of the made weights behind a parameter; rows repeat after distinct_weight_rows().
    std::span<const float> weight_row(std::string_view param, int64_t row);
    int64_t weight_rows(std::string_view param) const;
    int64_t distinct_weight_rows(std::string_view param);
    // Made values of an F32 tensor: `low` to `high`, or 0.5 to 1.5 with any sign.
    std::span<const float> weight_vector(std::string_view param);
    std::span<const float> weight_vector(std::string_view param, float low, float high);
    // Turns of rotary pairs, made likewise.
    std::span<const double> rope_turns() const { return turns_; }

    // Inputs. What is given back is valid until the parameter is put again.
    std::mt19937& random() { return random_; }
    template <class T>
    std::span<const T> put(std::string_view param, std::vector<T> values) {
        const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
        keep(param, kept, std::as_bytes(std::span(*kept)));
        return *kept;
    }
    std::span<const float> put_floats(std::string_view param, int64_t count);
    // [rows, cols] in 8-bit blocks, where `tiled` in tiles of 8 rows, or floats; gives the values
    // that they stand for. Rows repeat after kDistinctRows.
    std::vector<float> put_activations(std::string_view param, int64_t rows, int64_t cols,
                                       bool quantised, bool tiled = false);

    // Outputs, poisoned: of [full rows, width], rows() must be written and the rest left alone.
    // Floats, and the heads of blocks, must be finite.
    void out_floats(std::string_view param, int64_t width);
    void out_blocks(std::string_view param, int64_t width);
    void out_words(std::string_view param, int64_t written, int64_t all);  // 4 bytes each
    // The same, of which all must be written.
    void out_all_floats(std::string_view param, int64_t count);
    void out_all_blocks(std::string_view param, int64_t count);  // of values
    // Of a state that was put only the bytes from `first` on are expected to change: get() gives
    // those, and of the bytes before them windows are compared.
    void changes_from(std::string_view param, int64_t first) {
        arguments_[index_of(param)].first = static_cast<size_t>(first);
    }
    // Poisoned, and of no interest.
    void scratch(std::string_view param, int64_t bytes);

    // Waits for its turn on the device, puts all buffers in place, runs the kernel, and looks at
    // canaries and outputs. May be called again, after other inputs were put.
    void launch();
    // Milliseconds of all launches so far.
    double launch_ms() const { return launch_ms_; }
    // Milliseconds in which other trials were on the device.
    double waited_ms() const { return waited_ms_; }

    // What the last launch left of an output or state; valid until the next one.
    template <class T>
    std::span<const T> get(std::string_view param) const {
        const std::span<const std::byte> bytes = result(param);
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
    }

    Comparison& compare(const std::string& output, double tolerance);
    void same(std::string_view output, int64_t row, int64_t got, int64_t wanted);
    // Of all comparisons. Throws TrialFailure when one is beyond its tolerance, after they are in
    // `outputs`.
    void finish(std::vector<CertifiedOutput>& outputs) const;

  private:
    enum class Check { kNone, kWords, kFloats, kBlocks };
    // An output is poisoned on the device, and has no `before`.
    struct Argument {
        size_t bytes = 0;
        std::shared_ptr<const void> owner;
        std::span<const std::byte> before;
        std::unique_ptr<std::byte[]> after;  // from `first` on
        size_t first = 0;
        Check check = Check::kNone;
        bool poisoned = false;
        bool tiles = false;    // a made matrix
        size_t written = 0;    // bytes that must be; the rest must not
        size_t row_bytes = 0;  // of an output with a part for each row of the step
        std::unique_ptr<GuardedBuffer> buffer;
    };
    // A matrix of random blocks whose rows repeat, in tiles and as values.
    struct Matrix {
        int64_t rows = 0, cols = 0, distinct = 0;
        std::vector<uint8_t>
            tiles;                  // of the distinct rows, and one more where the last is no whole
        size_t tile_bytes = 0;      // of 32 rows
        std::vector<float> values;  // [distinct, cols]
    };
    Matrix& matrix(size_t index);
    void make_turns();
    void upload_weights(size_t index, GuardedBuffer& buffer);
    size_t index_of(std::string_view param) const;
    const PlanBuffer& plan_buffer(size_t index) const;
    const PlanBuffer& plan_buffer(std::string_view param) const;
    void keep(std::string_view param, std::shared_ptr<const void> owner,
              std::span<const std::byte> bytes);
    void out(std::string_view param, Check check, size_t written, size_t all);
    // Rows have so many bytes each.
    void out_rows(std::string_view param, Check check, int64_t row_bytes);
    std::span<const std::byte> result(std::string_view param) const;
    static uint8_t poison_of(Check check);
    static std::span<const std::byte> after_of(const Argument& argument) {
        return {argument.after.get(), argument.bytes - argument.first};
    }
    std::vector<uint64_t> place_arguments();
    void read_back(size_t index);
    // Windows spread over the first bytes, which should be as they were.
    void compare_start(size_t index, size_t bytes);
    void look_at(size_t index) const;
    // Words [first, first + words.size()) of an output that the kernel must have written.
    void look_at_written(size_t index, size_t first, std::span<const uint32_t> words) const;
    [[noreturn]] void fail(size_t index, const std::string& what) const;

    const TrialSubject& subject_;
    const TemplateInfo& info_;
    std::mt19937 random_;
    int64_t full_rows_, rows_;
    std::optional<size_t> ended_;  // the row that has ended
    std::vector<int32_t> step_;    // StepState and its rows
    double launch_ms_ = 0, waited_ms_ = 0;
    std::map<size_t, Argument> arguments_;  // by their place
    std::map<size_t, Matrix> matrices_;     // likewise
    std::vector<double> turns_;
    std::vector<std::unique_ptr<Comparison>> comparisons_;
    std::map<std::string, Comparison*, std::less<>> comparisons_by_name_;
};

}  // namespace hetune
