// Plans: which steps a graph becomes, and that no step reads what another has overwritten.
#include <doctest/doctest.h>
#include <fmt/ranges.h>

#include <map>
#include <nlohmann/json.hpp>

#include "kernel_templates/catalogue.h"
#include "planner/make_plan.h"
#include "planner/plan/plan_text.h"
#include "tests/cache/test_folder.h"
#include "tests/planner/small_model.h"
#include "tools/synth/synthetic.h"

namespace hetune {
namespace {

constexpr uint32_t kF32 = 0, kQ8 = 8;  // ggml types

Plan plan_of(const std::filesystem::path& path, const PlanOptions& options,
             const char* arch = "gfx1100") {
    const ModelFile file(path, ModelFile::Open::kHeaderOnly);
    return make_plan(build_layer_graph(file), file, find_arch(arch), options);
}

// "label: template" of every step.
std::vector<std::string> steps_of(const Plan& plan) {
    std::vector<std::string> steps;
    for (const PlanStep& step : plan.steps)
        steps.push_back(step.label + ": " + plan.spec(step).name);
    return steps;
}

struct Row {
    const char* what;
    uint32_t type;
    bool fusion;
    std::vector<std::string> steps;
};

TEST_CASE("a small graph becomes these steps") {
    const Row table[] = {
        {"primitives on floats",
         kF32,
         false,
         {"embed: embed",
          "blk.0.attn_norm: rmsnorm",
          "blk.0.attn_q: gemv",
          "blk.0.attn_k: gemv",
          "blk.0.attn_v: gemv",
          "blk.0.attn_q_norm: head_norm_rope",
          "blk.0.attn_q_norm.rope: head_norm_rope",
          "blk.0.attn_k_norm: head_norm_rope",
          "blk.0.attn_k_norm.rope: head_norm_rope",
          "blk.0.attn.kv_write: kv_write",
          "blk.0.attn.split: attention_split",
          "blk.0.attn: attention_merge",
          "blk.0.attn_output: gemv",
          "blk.0.attn_residual: binary",
          "blk.0.ffn_norm: rmsnorm",
          "blk.0.ffn_gate: gemv",
          "blk.0.ffn_up: gemv",
          "blk.0.ffn_act: binary",
          "blk.0.ffn_down: gemv",
          "blk.0.ffn_residual: binary",
          "output_norm: rmsnorm",
          "logits: gemv"}},
        {"primitives in 8 bits: a value is quantised once",
         kQ8,
         false,
         {"embed: embed",
          "blk.0.attn_norm: rmsnorm",
          "blk.0.attn_norm.q8: quantise",
          "blk.0.attn_q: gemv",
          "blk.0.attn_k: gemv",
          "blk.0.attn_v: gemv",
          "blk.0.attn_q_norm: head_norm_rope",
          "blk.0.attn_q_norm.rope: head_norm_rope",
          "blk.0.attn_k_norm: head_norm_rope",
          "blk.0.attn_k_norm.rope: head_norm_rope",
          "blk.0.attn.kv_write: kv_write",
          "blk.0.attn.split: attention_split",
          "blk.0.attn: attention_merge",
          "blk.0.attn.q8: quantise",
          "blk.0.attn_output: gemv",
          "blk.0.attn_residual: binary",
          "blk.0.ffn_norm: rmsnorm",
          "blk.0.ffn_norm.q8: quantise",
          "blk.0.ffn_gate: gemv",
          "blk.0.ffn_up: gemv",
          "blk.0.ffn_act: binary",
          "blk.0.ffn_act.q8: quantise",
          "blk.0.ffn_down: gemv",
          "blk.0.ffn_residual: binary",
          "output_norm: rmsnorm",
          "output_norm.q8: quantise",
          "logits: gemv"}},
        {"decoding, fused: five launches a layer",
         kQ8,
         true,
         {"embed: embed_norm", "blk.0.attn_q: gemv_fan", "blk.0.attn: attention_step",
          "blk.0.attn_residual: gemv_residual", "blk.0.ffn_act: gemv_swiglu",
          "blk.0.ffn_residual: gemv_residual", "logits: gemv_fan"}},
    };
    TestFolder folder;
    const auto path = folder.path() / "small.gguf";
    for (const Row& row : table) {
        CAPTURE(row.what);
        small_model(row.type).write(path);
        CHECK(steps_of(plan_of(path, {.fusion = row.fusion})) == row.steps);
    }
}

TEST_CASE("decoding, fused: no more than seven launches a layer of a hybrid mixture of experts") {
    const TestFolder folder;
    for (const char* like :
         {"qwen3.6-35b-a3b", "qwen3.6-27b", "qwen3-30b-a3b", "qwen3-8b", "llama3-8b"}) {
        CAPTURE(like);
        const auto path = folder.path() / "shape.gguf";
        ModelShape shape = find_shape(like);
        shape.layers = 8;
        write_synthetic(shape, {.header_only = true}, path);
        for (const char* arch : {"gfx1100", "gfx1151", "sm_90"}) {
            const auto steps = static_cast<int>(plan_of(path, {}, arch).steps.size());
            // The embedding and the logits come on top.
            CHECK(steps - 2 <= shape.layers * (shape.experts > 0 ? 7 : 5));
        }
    }
}

TEST_CASE("prefill on matrix units: halves are made once, with the norm where there is one") {
    TestFolder folder;
    const auto path = folder.path() / "small.gguf";
    small_model(kQ8).write(path);
    const std::vector<std::string> wanted = {"embed: embed",
                                             "blk.0.attn_norm: half_rows",
                                             "blk.0.attn_q: gemm",
                                             "blk.0.attn_norm.q8: quantise",
                                             "blk.0.attn_k: gemv",
                                             "blk.0.attn_v: gemv",  // 32 wide: too narrow
                                             "blk.0.attn_q_norm: head_norm_rope",
                                             "blk.0.attn_q_norm.rope: head_norm_rope",
                                             "blk.0.attn_k_norm: head_norm_rope",
                                             "blk.0.attn_k_norm.rope: head_norm_rope",
                                             "blk.0.attn.kv_write: kv_write",
                                             "blk.0.attn: attention_flash",
                                             "blk.0.attn.half: half_rows",
                                             "blk.0.attn_residual: gemm",
                                             "blk.0.ffn_norm: half_rows",
                                             "blk.0.ffn_act: gemm_swiglu",
                                             "blk.0.ffn_act.half: half_rows",
                                             "blk.0.ffn_residual: gemm",
                                             "last_row: take_row",
                                             "output_norm: rmsnorm",
                                             "output_norm.q8: quantise",
                                             "logits: gemv"};
    const auto steps = steps_of(plan_of(path, {.rows = 64, .matrix = true}));
    CAPTURE(fmt::format("{}", fmt::join(steps, "; ")));
    CHECK(steps == wanted);
    // Not for a few rows, nor with float activations.
    for (const PlanOptions& options :
         {PlanOptions{.rows = 31, .matrix = true},
          PlanOptions{.rows = 64, .activations = Activations::kFloat, .matrix = true}}) {
        PlanOptions without = options;
        without.matrix = false;
        CHECK(steps_of(plan_of(path, options)) == steps_of(plan_of(path, without)));
    }
}

TEST_CASE("prefill takes the last row before the logits, unless all are asked for") {
    TestFolder folder;
    const auto path = folder.path() / "small.gguf";
    small_model(kQ8).write(path);
    for (const bool fusion : {false, true}) {
        const auto logits_bytes = [&](const PlanOptions& options) {
            const Plan plan = plan_of(path, options);
            return plan.buffers[static_cast<size_t>(plan.logits_buffer)].bytes;
        };
        CHECK(logits_bytes({.rows = 1, .fusion = fusion}) == 32 * 4);
        CHECK(logits_bytes({.rows = 16, .fusion = fusion}) == 32 * 4);
        CHECK(logits_bytes({.rows = 16, .fusion = fusion, .output = StepOutput::kEachLogits}) ==
              16 * 32 * 4);
        const auto steps = steps_of(plan_of(path, {.rows = 16, .fusion = fusion}));
        CHECK(std::ranges::find(steps, "last_row: take_row") != steps.end());
    }
}

TEST_CASE("equal inputs give equal plans, other options give others") {
    TestFolder folder;
    const auto path = folder.path() / "small.gguf";
    small_model(kQ8).write(path);
    const Plan plan = plan_of(path, {});
    const Arch& arch = find_arch("gfx1100");
    CHECK(plan == plan_of(path, {}));
    CHECK(plan_json(plan, arch, 128) == plan_json(plan_of(path, {}), arch, 128));
    CHECK(plan_text(plan, arch, 128) == plan_text(plan_of(path, {}), arch, 128));
    CHECK(plan != plan_of(path, {.rows = 2}));
    CHECK(plan != plan_of(path, {.kv = KvType::kF32}));
    CHECK(plan != plan_of(path, {}, "gfx1151"));
}

// Walks through a plan as it would run, with the values that are alive in the arena.
class Arena {
  public:
    explicit Arena(const Plan& plan) : plan_(plan) {}

    std::string check(const PlanStep& step) {
        const auto& params = find_template(plan_.spec(step).name)->params;
        std::vector<std::pair<size_t, PlanArg>> read, written;
        for (size_t i = 0; i < step.args.size(); ++i) {
            const PlanArg& arg = step.args[i];
            const PlanBuffer& buffer = plan_.buffers[static_cast<size_t>(arg.buffer)];
            if (arg.offset < 0 || (arg.bytes > 0 && arg.offset + arg.bytes > buffer.bytes))
                return params[i].name + " leaves its buffer";
            if (buffer.role != BufferRole::kScratch) continue;
            if (arg.bytes <= 0) return params[i].name + " has no extent";
            (params[i].role == ParamRole::kActivations ? read : written).push_back({i, arg});
        }
        for (const auto& [i, arg] : read)
            if (!alive_.contains(arg.offset))
                return params[i].name + " reads what is overwritten or was never written";
        for (const auto& [i, arg] : written) {
            for (const auto& [other, input] : read)
                if (overlap(arg, input) && arg != input)
                    return params[i].name + " overwrites " + params[other].name;
            for (const auto& [other, output] : written)
                if (i != other && overlap(arg, output))
                    return params[i].name + " and " + params[other].name + " overlap";
        }
        for (const auto& [i, arg] : written) {
            std::erase_if(alive_, [&](const auto& entry) { return overlap(entry.second, arg); });
            alive_[arg.offset] = arg;
        }
        return {};
    }

  private:
    static bool overlap(const PlanArg& a, const PlanArg& b) {
        return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
    }
    const Plan& plan_;
    std::map<int64_t, PlanArg> alive_;
};

TEST_CASE("the walk through a plan notices a value that is overwritten too early") {
    Plan plan = plan_of(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf", {.fusion = false});
    const auto step = [&](const char* label) -> PlanStep& {
        return *std::ranges::find(plan.steps, label, &PlanStep::label);
    };
    // blk.0.attn_k goes where blk.0.attn_q is, which is read later.
    step("blk.0.attn_k").args.back().offset = step("blk.0.attn_q").args.back().offset;
    Arena arena(plan);
    std::string found;
    for (const PlanStep& each : plan.steps)
        if (found.empty()) found = arena.check(each);
    CHECK(found.find("overwritten") != std::string::npos);
}

TEST_CASE("no step reads scratch that was overwritten, and no output overlaps an input") {
    for (const char* name : {"tiny-Q4_K_M.gguf", "mini35-Q4_K_M.gguf"})
        for (const char* arch : {"gfx1100", "x86-64-v3"})
            for (const int rows : {1, 7, 64})
                for (const bool fusion : {false, true})
                    for (const Activations activations :
                         {Activations::kQuantised, Activations::kFloat})
                        for (const StepOutput output :
                             {StepOutput::kLogits, StepOutput::kEachLogits,
                              StepOutput::kEachHidden}) {
                            CAPTURE(name);
                            CAPTURE(arch);
                            CAPTURE(rows);
                            CAPTURE(fusion);
                            CAPTURE(to_string(activations));
                            CAPTURE(output);
                            const Plan plan =
                                plan_of(std::filesystem::path(HETUNE_TEST_MODELS) / name,
                                        {.rows = rows,
                                         .fusion = fusion,
                                         .activations = activations,
                                         .output = output},
                                        arch);
                            Arena arena(plan);
                            for (const PlanStep& step : plan.steps) {
                                CAPTURE(step.label);
                                CHECK(arena.check(step) == "");
                            }
                        }
}

TEST_CASE("a step names the float values it completes, and where they are") {
    const Plan plan = plan_of(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf",
                              {.rows = 4, .output = StepOutput::kEachLogits});
    std::map<std::string, int64_t> widths;
    for (const PlanStep& step : plan.steps)
        for (const StepValue& value : step.values) {
            CHECK(widths.emplace(value.name, value.width).second);
            CHECK(step.args[static_cast<size_t>(value.arg)].bytes == 4 * value.width * 4);
        }
    CHECK(widths.at("logits") == plan.vocabulary);
    CHECK(widths.contains("blk.0.attn_q"));
    CHECK(widths.contains("blk.5.ffn_residual"));
}

TEST_CASE("kernels are numbered by template in order of first use") {
    const Plan plan = plan_of(HETUNE_TEST_MODELS "/tiny-Q4_K_M.gguf", {});
    std::map<std::string, int> counts;
    const auto kernels = named_kernels(plan);
    CHECK(kernels.size() == plan.kernels.size());
    for (const NamedKernel& kernel : kernels)
        CHECK(kernel.name == kernel.spec.name + "." + std::to_string(counts[kernel.spec.name]++));
}

}  // namespace
}  // namespace hetune
