// From layer graph to plan: each op is turned into steps by a lowering, found in a registry by
// (layer, variant). A new kernel for an op is a new file with a RegisterLowering;
// nothing here or elsewhere names it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernel_templates/quant/registry.h"
#include "planner/plan.h"

namespace hetune {

// Sizes of kernel_templates' XBlock, StepState, SamplerState and ring of tokens.
constexpr int64_t kXBlockBytes = 48;
constexpr int64_t kStepBytes = 8;
constexpr int64_t kSamplerBytes = 4 * (9 + 2 + 16 + 1024);
constexpr int64_t kTokenRingBytes = 4 * 64;
constexpr int64_t kLoopBytes = 16;

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
    kSquares,    // float [rows, width / 32]: squares summed, of a value whose norm is still due
    kIds,        // int32 [rows, width]
    kHalf,       // half rows [rows][2 width + 16 bytes] (kernel_templates/elementwise/half_row.h)
};

// All kernels for an op are refused (PlanOptions::refused).
class NoKernelLeft : public ModelError {
  public:
    NoKernelLeft(std::string kind, const std::string& line)
        : ModelError(line), kind_(std::move(kind)) {}
    const std::string& kind() const { return kind_; }  // of the op

  private:
    std::string kind_;
};

// Builds one plan. Lowerings call it.
class PlanBuilder {
  public:
    // `tuned`: tunables of single ops, by their index. All outlive this.
    PlanBuilder(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                const PlanOptions& options, const std::map<int, OpTunables>& tuned);

    const LayerGraph& graph;
    const ModelFile& file;
    const Arch& arch;
    const PlanOptions& options;
    const std::map<int, OpTunables>& tuned;
    Plan plan;

    // Rows of a value: those of the step, or 1 behind last_row.
    int rows(ValueId value) const;
    int64_t width(ValueId value) const;
    const std::string& name(ValueId value) const;

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
    void emit(PlanStep step);
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
        size_t steps, buffers;
        int logits_buffer, last_step_buffer;
        std::vector<Place> places;
        std::map<ValueId, ValueId> aliases;
        std::map<std::string, int> buffers_by_name;
        std::map<int64_t, int64_t> free, taken;
        int64_t arena_bytes;
    };
    State state() const;
    void restore(State state);
    // The first step from `first` on whose kernel is refused; nullptr: none is.
    const PlanStep* refused_step(size_t first) const;
    void lower_with_variants(const Op& op);

    PlanArg place_of(ValueId value, Form form) const;
    void make_quantised(ValueId value);
    int64_t bytes_of(ValueId value, Form form) const;
    int64_t take(int64_t bytes);
    void give_back(int64_t offset);
    int buffer(const std::string& name, BufferRole role, int64_t bytes, int64_t per_context = 0,
               const std::string& tensor = {});
    ValueId root(ValueId value) const;

    std::vector<Place> places_;
    std::map<ValueId, ValueId> aliases_;
    std::map<std::string, int> buffers_by_name_;
    std::map<int64_t, int64_t> free_;  // offset -> bytes
    std::map<int64_t, int64_t> taken_;
    std::vector<int64_t> op_scratch_;
    std::map<std::string, int> halved_;  // how often a template's tunables are, for the op at hand
    int64_t arena_bytes_ = 0;
    int arena_ = -1;
    size_t op_ = 0;
};

// The plan of the defaults, but for the tunables of single ops. make_plan calls it.
Plan lower_graph(const LayerGraph& graph, const ModelFile& file, const Arch& arch,
                 const PlanOptions& options, const std::map<int, OpTunables>& ops);

struct Lowering {
    std::string layer;    // the op's kind
    std::string variant;  // "gemv"; shown in plans
    int priority = 0;     // the highest that fits is taken
    std::function<bool(const PlanBuilder&, const Op&)> fits = nullptr;  // default: always
    std::function<void(PlanBuilder&, const Op&)> emit;
};
std::vector<Lowering>& lowerings();
struct RegisterLowering {
    explicit RegisterLowering(Lowering lowering);
};

// A rule that rewrites primitive ops into a fused one, for which there is a lowering. Rules run in
// order of priority, highest first, each until it finds nothing more.
struct FusionRule {
    std::string name;
    int priority = 0;
    std::vector<std::string> makes =
        {};  // kinds of fused ops; left out when no kernel for one is left
    // True when it rewrote something.
    std::function<bool(LayerGraph&, const PlanOptions&, const ModelFile&)> apply;
};
std::vector<FusionRule>& fusion_rules();
struct RegisterFusion {
    explicit RegisterFusion(FusionRule rule);
};

// Number of waves for a kernel whose groups own 32 rows each, so that the device is filled.
int default_waves(const Arch& arch, int64_t groups, int64_t steps_of_k);

// Waves of half_rows: a lane has 16 columns or more, so that its loads are in flight together.
int half_rows_waves(const Arch& arch, int64_t cols);

// Shares of the context for attention in decode: enough groups for every compute unit.
int default_splits(const Arch& arch, int64_t groups, int most = 32);

std::string constant(int64_t value);
std::string constant(int value);
std::string constant(bool value);
std::string constant(double value);  // a float literal that reads back to the same float

}  // namespace hetune
