// Which kernels exist, with which constants, and how a spec becomes source text.
//
// A template is kernel_templates/<family>/<name>.hip, and <name>.cc beside it describes it: the
// constants it asks for, the tunables that autotune may vary, the arguments in order. Sources are
// embedded in the library; HETUNE_TEMPLATE_DIR (TemplateSources) reads them from a folder instead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernel_templates/spec.h"
#include "kernel_templates/target_family.h"

namespace hetune {

// A constexpr that a spec sets. `type` is "int", "float" or "bool", or a type: "Quant"
// (kernel_templates/quant), "Functor" (elementwise/functors.h), "Kv" (attention/kv_type.h).
struct TemplateConstant {
    std::string name;
    std::string type;
    std::string what;
};

// A constant that changes speed and never the result.
struct TemplateTunable {
    std::string name;
    std::vector<int> values;  // a sweep tries those that the planner finds valid
};

enum class ParamRole { kWeights, kActivations, kState, kStep, kOutput, kInOut };
std::string_view to_string(ParamRole role);

// What of a target bounds a point of a tuning space.
struct TargetLimits {
    int max_threads = 1024;  // of a group
    int lds_bytes = 65536;   // of a group
};

// The integer constants and tunables of a spec, by name; 0 for one that is no integer.
class SpecValues {
  public:
    explicit SpecValues(const KernelSpec& spec) : spec_(spec) {}
    int64_t operator()(const std::string& name) const;

  private:
    const KernelSpec& spec_;
};

// One kernel argument; all are pointers.
struct TemplateParam {
    std::string name;
    std::string type;  // "const u8*"
    ParamRole role;
    std::string shape;  // in terms of constants: "[rows, kCols]"
};

// What an object must show (runtime/compile/disassembly.h), by target family that can.
struct TemplatePromises {
    bool dot4 = false;  // where Quant is an integer format and activations are quantised, but for
                        // kernels with kMatrix, which must show a matrix instruction
    bool matrix = false;
    bool wide_loads = false;  // 128-bit

    bool operator==(const TemplatePromises&) const = default;
};

struct TemplateInfo {
    std::string name;   // entry point and file stem
    std::string file;   // "linear/gemv.hip"
    std::string layer;  // the registry's second axis: "linear", "attention", ...
    std::string what;   // one line
    std::vector<TemplateConstant> constants;
    std::vector<TemplateTunable> tunables;
    bool overlaps = false;  // it calls await_inputs() before it reads what other launches write
    // The rows of a group along PlanStep::rows_axis are of one sequence (elementwise/step_rows.h).
    bool one_sequence = false;
    std::vector<TemplateParam> params;
    TemplatePromises promises = {};
    // Static LDS of a group; none: it has no LDS that depends on a tunable.
    std::function<int64_t(const SpecValues&)> lds_bytes = {};
    // Why a spec breaks what the template's static_asserts ask for; empty: it does not.
    std::function<std::string(const SpecValues&)> refuses = {};
};

// Why a spec cannot run on a target, before it is compiled; empty: it can, as far as can be seen.
std::string refusal(const KernelSpec& spec, const TargetLimits& limits);
// Static LDS of a group, as far as it depends on tunables.
int64_t lds_bytes(const KernelSpec& spec);

// Sorted by name.
std::span<const TemplateInfo* const> all_templates();
const TemplateInfo* find_template(std::string_view name);

struct RegisterTemplate {
    explicit RegisterTemplate(TemplateInfo info);
};

// What #line marks of a rendered source call the constants that a spec sets.
constexpr const char* kConstantsFile = "constants";

// Reads template files, from the library or from `folder` where that is set.
class TemplateSources {
  public:
    explicit TemplateSources(std::filesystem::path folder = {}) : folder_(std::move(folder)) {}

    // One self-contained translation unit: constants, then the template, each include put in its
    // place once, with #line marks that name files relative to kernel_templates. Equal specs give
    // equal text. Throws std::runtime_error for an unknown template, a constant that is missing or
    // not declared, or a file that cannot be read.
    std::string render(const KernelSpec& spec, TargetFamily family) const;

  private:
    std::string read(const std::string& name) const;
    std::filesystem::path folder_;
};

}  // namespace hetune
