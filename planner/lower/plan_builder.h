// Builds a plan op by op: where values lie, which buffers there are, and the steps that the
// lowerings (lowerings.h) emit.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "kernel_templates/quant/registry.h"
#include "planner/fusion/fused_graph.h"
#include "planner/lower/arena.h"
#include "planner/lower/heuristics.h"
#include "planner/plan/device_sizes.h"
#include "planner/plan/plan.h"

namespace hetune {

// Groups or tiles of `size` that hold `count` of something; the last one may be partly empty.
inline uint32_t ceil_div(int64_t count, int64_t size) {
    return static_cast<uint32_t>((count + size - 1) / size);
}

// Bytes of one row of activations: XBlocks, or floats.
inline int64_t form_bytes(bool quantised, int64_t width) {
    return quantised ? width / 32 * kXBlockBytes : width * 4;
}

// How a value lies in memory.
enum class Form {
    kFloat,      // [rows, width]
    kQuantised,  // XBlock [rows, width / 32]
    kTiled,      // XTile [ceil(rows / 8), width / 32]: of kQuantised, for integer matrix units
    kSquares,    // float [rows, width / 32]: squares summed, of a value whose norm is still due
    kIds,        // int32 [rows, width]
    kHalf,       // half rows [rows][2 width + 16 bytes] (kernel_templates/elementwise/half_row.h)
};

// A step as a lowering states it: the plan's table has the kernel once for all steps that run it.
// The members are those of PlanStep, where they are explained.
struct EmittedStep {
    std::string label;
    KernelSpec spec;
    std::vector<PlanArg> args;
    uint32_t groups[3] = {1, 1, 1};
    uint32_t threads = 32;
    int rows_axis = -1;
    int rows_per_group = 1;
    StepCost cost = {};
};

// All kernels for an op are refused (PlanOptions::refused).
class NoKernelLeft : public ModelError {
  public:
    NoKernelLeft(std::string_view kind, const std::string& line) : ModelError(line), kind_(kind) {}
    std::string_view kind() const { return kind_; }  // of the op

  private:
    std::string_view kind_;
};

// Builds one plan. Lowerings call it.
class PlanBuilder {
  public:
    // `tuned`: tunables of single ops, by their index. All outlive this.
    PlanBuilder(const FusedGraph& fused, const ModelFile& file, const Arch& arch,
                const PlanOptions& options, const std::map<int, OpTunables>& tuned);

    const LayerGraph& graph;     // values and sizes
    const std::vector<Op>& ops;  // of the fused graph
    const ModelFile& file;
    const Arch& arch;
    const PlanOptions& options;
    const std::map<int, OpTunables>& tuned;
    Plan plan;

    // Rows of a value: those of the step, or 1 behind last_row.
    int rows(ValueId value) const;
    int64_t width(ValueId value) const;
    const std::string& name(ValueId value) const;

    // in_tiles() gives a value's kTiled form, made of kQuantised where there is none yet.
    PlanArg in_tiles(ValueId value);
    // Where a value is, in a form that exists or that is made now (kQuantised, kHalf: from kFloat).
    PlanArg in(ValueId value, Form form = Form::kFloat);
    // The same for a value whose norm's factor is still due (it has kSquares), by a kernel that
    // applies it. in() refuses such a value.
    PlanArg in_due(ValueId value, Form form);
    bool has(ValueId value, Form form) const;
    // A new place for a value in a form.
    PlanArg out(ValueId value, Form form = Form::kFloat);
    // `value` lives where `other` does: for ops that compute nothing, or work in place.
    void alias(ValueId value, ValueId other);
    // Scratch for this op only, given back when it has been lowered.
    PlanArg scratch(int64_t bytes);

    PlanArg tiles(const std::string& tensor);
    PlanArg raw(const std::string& tensor);
    PlanArg turns();
    PlanArg kv(int layer, const char* which, int64_t heads, int64_t head_size);  // "k", "v"
    PlanArg pages();  // the table of them
    PlanArg state(const std::string& name, int64_t bytes);
    PlanArg counters(const std::string& name, int64_t bytes);  // zero before and after each launch
    PlanArg step(ValueId value);  // the StepState that counts the value's rows
    PlanArg tokens();
    PlanArg none();  // for a pointer that the constants switch off

    const QuantFormat& format(const std::string& tensor) const;
    int64_t tensor_rows(const std::string& tensor) const;

    // A tunable: the options' value for this template where there is one, else the one tuned for
    // this op, else `fallback`; less where a kernel of the template is refused.
    int tunable(const std::string& kernel, const std::string& name, int fallback) const;
    // The tunable kWaves of a kernel. Its default is Arch::waves(wanted).
    int waves(const std::string& kernel, int wanted) const {
        return tunable(kernel, "kWaves", arch.waves(wanted));
    }
    // How often a kernel for rows of several sequences was refused: those that give the same bits
    // come first, by other means than the integer matrix units, and with fewer tokens at a time.
    int batch_refusals(const std::string& kernel) const;
    void emit(EmittedStep step);
    // Half rows of float rows; `per_row` of them for each row of the step.
    struct HalfRows {
        std::string label;
        PlanArg step, from, to;
        int64_t cols = 0, rows = 0, per_row = 1;
    };
    void emit_half_rows(const HalfRows& rows);

    // Used by make_plan.
    void lower_op(size_t index);
    void finish();

  private:
    struct Place {
        std::map<Form, int64_t> offsets;  // in the arena
        size_t last_use = 0;
        bool after_last_row = false;
    };
    // What lowering an op changes, to take it back.
    struct State {
        size_t steps, kernels, buffers;
        int logits_buffer, last_step_buffer;
        std::vector<Place> places;
        std::map<ValueId, ValueId> aliases;
        std::map<std::string, int> buffers_by_name;
        Arena arena;
    };
    State state() const;
    void restore(State state);
    // A decode step's kernel is refused with the kernel for one row, too: all kinds of decode step
    // add up in the order of that one.
    bool is_refused(const KernelSpec& spec) const;
    // The kernel of the first step from `first` on whose kernel is refused; nullptr: none is.
    const KernelSpec* refused_kernel(size_t first) const;
    template <class T>
    void lower_with_variants(const T& op);

    PlanArg place_of(ValueId value, Form form) const;
    void make_quantised(ValueId value);
    int64_t bytes_of(ValueId value, Form form) const;
    int buffer(const std::string& name, BufferRole role, int64_t bytes, int64_t per_context = 0,
               const std::string& tensor = {});
    ValueId root(ValueId value) const;

    std::vector<Place> places_;
    std::map<ValueId, ValueId> aliases_;
    std::map<std::string, int> buffers_by_name_;
    Arena arena_;
    std::vector<int64_t> op_scratch_;
    std::map<std::string, int> halved_;  // how often a template's tunables are, for the op at hand
    std::map<std::string, int> batch_refusals_;  // likewise
    int arena_buffer_ = -1;
    size_t op_ = 0;
};

}  // namespace hetune
