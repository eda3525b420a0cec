// kernel_counts [--check] [--rows N [--matrix]] [TEMPLATE...]: what kernels with weights cost RDNA
// 3 in instructions, counted by running their objects on the program that HETUNE_EMULATOR names
// (docs/testing.md), beside registers and roofline; Markdown on stdout. --check: fails where a GEMV
// takes more than it may. --rows: decode kernels for a step of N sequences, counts are for each
// row; with --matrix on the integer matrix units.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "kernel_templates/catalogue.h"
#include "kernel_templates/quant/registry.h"
#include "planner/lower/plan_builder.h"
#include "planner/plan/occupancy.h"
#include "runtime/compile/child.h"
#include "runtime/compile/compiler.h"
#include "runtime/load/step_state.h"

namespace hetune {
namespace {

constexpr int64_t kRows = 1024, kCols = 4096;
constexpr int kWaves = 8;

// Wave instructions for a KiB of weights that a GEMV may take: a quarter to a third of the issue
// slots that a card has while it reads as much.
const std::map<std::string, double> kMost = {
    {"Q4_K", 150}, {"Q5_K", 190}, {"Q6_K", 200}, {"Q8_0", 80}};

struct Case {
    KernelSpec spec;
    std::string format;
    uint32_t groups[3] = {1, 1, 1};
    int waves = kWaves;
    int64_t weight_bytes = 0;
    std::vector<int64_t> arg_bytes;  // behind the step
    int tokens = 1;
    bool step = true;  // the first argument is a StepState
};

std::map<std::string, std::string> linear_constants() {
    return {{"kCols", constant(kCols)},
            {"kTokens", "1"},
            {"kMatrix", "false"},
            {"kQuantisedInput", "true"},
            {"kWaves", constant(kWaves)}};
}

constexpr int64_t kInput = kCols / 32 * kXBlockBytes, kSquares = kCols / 32 * 4,
                  kOutput = kRows * 4;

Case gemv(const QuantFormat& format) {
    auto constants = linear_constants();
    constants.insert({{"Quant", format.name}, {"kRows", constant(kRows)}, {"kBias", "false"}});
    const int64_t weights = tiles_bytes(format, kRows, kCols);
    return {{"gemv", constants},          format.name, {kRows / 32, 1}, kWaves, weights,
            {weights, kInput, 4, kOutput}};
}

Case gemv_fan(const QuantFormat& format) {
    auto constants = linear_constants();
    constants.insert({{"kBias", "false"}, {"kNormed", "true"}, {"kEps", "1e-6f"}});
    for (const char* digit : {"0", "1", "2", "3"}) {
        constants["Quant" + std::string(digit)] = format.name;
        constants["kRows" + std::string(digit)] = constant(kRows / 4);
    }
    const int64_t weights = tiles_bytes(format, kRows, kCols), one = weights / 4;
    return {{"gemv_fan", constants},
            format.name,
            {kRows / 32, 1},
            kWaves,
            weights,
            {kInput, kSquares, one, one, one, one, 4, 4, 4, 4, kOutput / 4, kOutput / 4,
             kOutput / 4, kOutput / 4}};
}

Case gemv_residual(const QuantFormat& format) {
    auto constants = linear_constants();
    constants.insert({{"Quant", format.name},
                      {"kRows", constant(kRows)},
                      {"kNormed", "true"},
                      {"kQuantisedOutput", "true"}});
    const int64_t weights = tiles_bytes(format, kRows, kCols);
    return {
        {"gemv_residual", constants},
        format.name,
        {kRows / 32, 1},
        kWaves,
        weights,
        {weights, kInput, kOutput, kOutput, kOutput, kRows / 32 * kXBlockBytes, kRows / 32 * 4}};
}

Case gemv_swiglu(const QuantFormat& format) {
    auto constants = linear_constants();
    constants.insert({{"Gate", format.name},
                      {"Up", format.name},
                      {"kRows", constant(kRows)},
                      {"kQuantisedOutput", "true"},
                      {"kNormed", "true"},
                      {"kEps", "1e-6f"}});
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"gemv_swiglu", constants},
            format.name,
            {kRows / 32, 1},
            kWaves,
            2 * one,
            {one, one, kInput, kSquares, kRows / 32 * kXBlockBytes}};
}

// Two experts of three, and a shared one of the same size.
Case moe_gate_up(const QuantFormat& format) {
    constexpr int64_t kInner = 256, kExperts = 3, kUsed = 2;
    auto constants = linear_constants();
    constants.erase("kMatrix");
    constants.insert({{"Gate", format.name},
                      {"Up", format.name},
                      {"SharedGate", format.name},
                      {"SharedUp", format.name},
                      {"kUsed", constant(kUsed)},
                      {"kRows", constant(kInner)},
                      {"kSharedRows", constant(kInner)},
                      {"kQuantisedOutput", "true"},
                      {"kNormed", "true"},
                      {"kEps", "1e-6f"}});
    const int64_t one = tiles_bytes(format, kInner, kCols);
    return {{"moe_gate_up", constants},
            format.name,
            {kInner / 32, kUsed + 1},
            kWaves,
            2 * (kUsed + 1) * one,
            {kUsed * 4, kExperts * one, kExperts * one, one, one, kInput, kSquares,
             (kUsed + 1) * kInner / 32 * kXBlockBytes}};
}

Case moe_down(const QuantFormat& format) {
    constexpr int64_t kInner = 512, kExperts = 3, kUsed = 8;
    const int64_t one = tiles_bytes(format, kRows, kInner);
    return {
        {"moe_down",
         {{"Quant", format.name},
          {"Shared", format.name},
          {"kUsed", constant(kUsed)},
          {"kRows", constant(kRows)},
          {"kCols", constant(kInner)},
          {"kSharedCols", constant(kInner)},
          {"kSharedGate", "true"},
          {"kQuantisedInput", "true"},
          {"kNormed", "true"},
          {"kQuantisedOutput", "true"},
          {"kWaves", "9"}}},
        format.name,
        {kRows / 32, 1},
        9,
        (kUsed + 1) * one,
        {kUsed * 4, (kUsed + 1) * 4, kExperts * one, one, (kUsed + 1) * kInner / 32 * kXBlockBytes,
         kOutput, kOutput, kOutput, kRows / 32 * kXBlockBytes, kRows / 32 * 4}};
}

// A tile of tokens on the matrix units.
constexpr int kTileTokens = 64, kTileRows = 128, kTileWaves = 4;
constexpr int64_t kHalves = kTileTokens * (2 * kCols + 16), kTileOutput = kTileTokens * kOutput;

std::map<std::string, std::string> tile_constants(const QuantFormat& format, int matrices) {
    return {{"Quant", format.name},
            {"kRows", constant(kRows)},
            {"kCols", constant(kCols)},
            {"kTileM", constant(kTileTokens)},
            {"kTileN", constant(kTileRows / matrices)},
            {"kWaves", constant(kTileWaves)}};
}

Case gemm(const QuantFormat& format) {
    auto constants = tile_constants(format, 1);
    constants.insert({{"kBias", "false"}, {"kResidual", "false"}});
    const int64_t weights = tiles_bytes(format, kRows, kCols);
    return {{"gemm", constants}, format.name, {kRows / kTileRows, 1},
            kTileWaves,          weights,     {weights, kHalves, 4, 4, kTileOutput},
            kTileTokens};
}

Case gemm_swiglu(const QuantFormat& format) {
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"gemm_swiglu", tile_constants(format, 2)},
            format.name,
            {kRows / kTileRows * 2, 1},
            kTileWaves,
            2 * one,
            {one, one, kHalves, kTileOutput},
            kTileTokens};
}

// Kernels of experts: one expert of kRows rows in use, whose id, order and chunk are those of
// memory that is zero.
constexpr int64_t kIds = 4, kChunkBytes = 12;

std::map<std::string, std::string> without(std::map<std::string, std::string> constants,
                                           const char* name) {
    constants.erase(name);
    return constants;
}

Case experts_gate_up(const QuantFormat& format) {
    auto constants = without(without(linear_constants(), "kTokens"), "kMatrix");
    constants.insert({{"Gate", format.name},
                      {"Up", format.name},
                      {"kUsed", "1"},
                      {"kRows", constant(kRows)},
                      {"kQuantisedOutput", "true"},
                      {"kGateScale", "false"}});
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"experts_gate_up", constants},
            format.name,
            {kRows / 32, 1},
            kWaves,
            2 * one,
            {kIds, one, one, 4, kInput, kRows / 32 * kXBlockBytes}};
}

Case experts_down(const QuantFormat& format) {
    auto constants = without(without(linear_constants(), "kTokens"), "kMatrix");
    constants.insert({{"Quant", format.name}, {"kUsed", "1"}, {"kRows", constant(kRows)}});
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"experts_down", constants},    format.name, {kRows / 32, 1}, kWaves, one,
            {kIds, 4, one, kInput, kOutput}};
}

constexpr int kGroupTokens = 4;

Case experts_gate_up_grouped(const QuantFormat& format) {
    auto constants = linear_constants();
    constants["kTokens"] = constant(kGroupTokens);
    constants.erase("kMatrix");
    constants.insert({{"Gate", format.name},
                      {"Up", format.name},
                      {"kUsed", "1"},
                      {"kRows", constant(kRows)},
                      {"kQuantisedOutput", "true"}});
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"experts_gate_up_grouped", constants},
            format.name,
            {kRows / 32, 1},
            kWaves,
            2 * one,
            {kGroupTokens * 4, kChunkBytes, one, one, kGroupTokens * kInput,
             kGroupTokens * kRows / 32 * kXBlockBytes},
            kGroupTokens,
            false};
}

Case experts_down_grouped(const QuantFormat& format) {
    auto constants = linear_constants();
    constants["kTokens"] = constant(kGroupTokens);
    constants.erase("kMatrix");
    constants.insert({{"Quant", format.name}, {"kRows", constant(kRows)}});
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"experts_down_grouped", constants},
            format.name,
            {kRows / 32, 1},
            kWaves,
            one,
            {kGroupTokens * 4, kChunkBytes, one, kGroupTokens * kInput, kGroupTokens * kOutput},
            kGroupTokens,
            false};
}

Case experts_gate_up_gemm(const QuantFormat& format) {
    auto constants = tile_constants(format, 2);
    constants.insert({"kUsed", "1"});
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"experts_gate_up_gemm", constants},
            format.name,
            {kRows / kTileRows * 2, 1},
            kTileWaves,
            2 * one,
            {kTileTokens * 4, kChunkBytes, one, one, kHalves, kTileOutput},
            kTileTokens,
            false};
}

Case experts_down_gemm(const QuantFormat& format) {
    const int64_t one = tiles_bytes(format, kRows, kCols);
    return {{"experts_down_gemm", tile_constants(format, 1)},
            format.name,
            {kRows / kTileRows, 1},
            kTileWaves,
            one,
            {kTileTokens * 4, kChunkBytes, one, kHalves, kTileOutput},
            kTileTokens,
            false};
}

// Dimension of the launch that has a decode kernel's rows, or its tiles of rows.
const std::map<std::string, int> kRowsAxis = {{"gemv", 1},          {"gemv_fan", 1},
                                              {"gemv_residual", 1}, {"gemv_swiglu", 1},
                                              {"moe_down", 1},      {"moe_gate_up", 2}};

// A case of one row for `rows` sequences: tiles of tokens as planner/lower/linear.cc has them.
Case for_sequences(Case c, int rows, bool matrix) {
    const auto axis = kRowsAxis.find(c.spec.name);
    if (axis == kRowsAxis.end())
        throw std::runtime_error(
            fmt::format("--rows: {} is no kernel of decode steps", c.spec.name));
    int tokens = 1;
    if (c.spec.constants.contains("kTokens")) {
        tokens = !matrix ? std::min(rows, 8) : rows <= 8 ? 8 : 16;
        c.spec.constants["kTokens"] = constant(tokens);
        c.spec.constants["kMatrix"] = constant(matrix);
    }
    c.groups[axis->second] = static_cast<uint32_t>((rows + tokens - 1) / tokens);
    c.tokens = rows;
    for (int64_t& bytes : c.arg_bytes) bytes *= rows;
    return c;
}

using Make = Case (*)(const QuantFormat&);
const std::map<std::string, Make> kMakers = {{"experts_down", experts_down},
                                             {"experts_down_gemm", experts_down_gemm},
                                             {"experts_down_grouped", experts_down_grouped},
                                             {"experts_gate_up", experts_gate_up},
                                             {"experts_gate_up_gemm", experts_gate_up_gemm},
                                             {"experts_gate_up_grouped", experts_gate_up_grouped},
                                             {"gemm", gemm},
                                             {"gemm_swiglu", gemm_swiglu},
                                             {"gemv", gemv},
                                             {"gemv_fan", gemv_fan},
                                             {"gemv_residual", gemv_residual},
                                             {"gemv_swiglu", gemv_swiglu},
                                             {"moe_down", moe_down},
                                             {"moe_gate_up", moe_gate_up}};

void write_file(const std::string& path, const void* bytes, size_t count) {
    std::ofstream file(path, std::ios::binary);
    file.write(static_cast<const char*>(bytes), static_cast<std::streamsize>(count));
    if (!file.flush()) throw std::runtime_error(fmt::format("{}: cannot write", path));
}

// The emulator's own summary of one launch, all weights zero, which no instruction depends on.
nlohmann::json emulate(const std::string& program, const Case& c, const CodeObject& code) {
    const ScratchFolder folder;
    const std::string object = folder.path() + "/kernel.co", step = folder.path() + "/step",
                      args_file = folder.path() + "/args.json",
                      summary = folder.path() + "/summary.json";
    write_file(object, code.bytes.data(), code.bytes.size());
    std::vector<StepRow> rows;
    for (int32_t row = 0; row < static_cast<int32_t>(c.tokens); ++row) rows.push_back({row, 0});
    const std::vector<int32_t> state = step_state(rows, {});
    const size_t state_bytes = state.size() * sizeof(int32_t);
    write_file(step, state.data(), state_bytes);
    nlohmann::json args = nlohmann::json::array();
    if (c.step)
        args.push_back({{"type", "buffer"}, {"dir", "in"}, {"file", step}, {"bytes", state_bytes}});
    for (size_t i = 0; i < c.arg_bytes.size(); ++i)
        args.push_back({{"type", "buffer"},
                        {"dir", "inout"},
                        {"bytes", c.arg_bytes[i]},
                        {"out", fmt::format("{}/{}.out", folder.path(), i)}});
    const std::string text = args.dump();
    write_file(args_file, text.data(), text.size());
    const ChildResult result =
        run_child({program, object, c.spec.name, "--grid",
                   fmt::format("{},{},{}", c.groups[0], c.groups[1], std::max(c.groups[2], 1u)),
                   "--block", fmt::format("{},1,1", 32 * c.waves), "--lds", "0", "--args",
                   args_file, "--summary", summary, "--hist", "400"},
                  "", std::chrono::minutes(10), folder.path());
    if (!result.ok())
        throw std::runtime_error(fmt::format("{} {}: the emulator: {}: {}", c.spec.name, c.format,
                                             result.outcome, result.errors));
    std::ifstream file(summary);
    return nlohmann::json::parse(file);
}

int64_t executed(const nlohmann::json& histogram, const std::string& prefix) {
    int64_t count = 0;
    for (const auto& [name, times] : histogram.items())
        if (name.starts_with(prefix)) count += times.get<int64_t>();
    return count;
}

std::string occupancy_text(const std::string& arch, const CodeObject& code, int waves) {
    const Occupancy o =
        occupancy(find_arch(arch), code.resources.vgprs, code.resources.lds_bytes, 32 * waves);
    return fmt::format("{}", o.waves_per_simd);
}

int run(std::vector<std::string> wanted, bool check, int rows, bool matrix) {
    const Environment environment = read_environment();
    if (environment.emulator.empty()) {
        fmt::print("skipped: HETUNE_EMULATOR names no program\n");
        return 77;  // ctest: skipped
    }
    if (wanted.empty())
        for (const auto& [name, make] : kMakers)
            if (rows == 1 || kRowsAxis.contains(name)) wanted.push_back(name);
    const auto compiler = choose_compiler(find_arch("gfx1100"), environment, "clang");
    if (!check)
        fmt::print(
            "| kernel | weights | wave instructions / KiB | dot4 or WMMA / KiB | bytes of weight / "
            "load | VGPRs gfx1100, "
            "gfx1151 | waves / SIMD | LDS | us at 960 GB/s | us at 256 GB/s |\n"
            "| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n");
    bool over = false;
    for (const std::string& name : wanted) {
        const auto make = kMakers.find(name);
        if (make == kMakers.end())
            throw std::runtime_error(fmt::format("no case for a kernel '{}'", name));
        for (const QuantFormat& format : all_quants()) {
            if (!format.integer || (check && !kMost.contains(format.name))) continue;
            Case c = make->second(format);
            if (rows > 1) c = for_sequences(std::move(c), rows, matrix);
            const auto compile = [&](const char* arch) {
                return compiler->compile({c.spec.name,
                                          TemplateSources().render(c.spec, TargetFamily::kAmd),
                                          find_arch(arch)});
            };
            const CodeObject code = compile("gfx1100");
            const nlohmann::json summary = emulate(environment.emulator, c, code);
            const double kib = static_cast<double>(c.weight_bytes) / 1024;
            const double per_kib = summary.at("wave_instructions").get<double>() / kib / rows;
            if (check) {
                const double most = kMost.at(format.name);
                fmt::print("{} {}: {:.1f} wave instructions per KiB of weights, {} allowed\n", name,
                           format.name, per_kib, most);
                over |= per_kib > most;
                continue;
            }
            const CodeObject other = compile("gfx1151");
            const nlohmann::json histogram = summary.value("histogram", nlohmann::json::object());
            const auto loads = executed(histogram, "GLOBAL_LOAD");
            fmt::print(
                "| {} | {} | {:.1f} | {:.1f} | {:.0f} | {}, {} | {} | {} | {:.2f} | {:.2f} |\n",
                name, format.name, per_kib,
                static_cast<double>(executed(histogram, "V_DOT4") + executed(histogram, "V_WMMA")) /
                    kib / rows,
                loads > 0 ? static_cast<double>(c.weight_bytes) / static_cast<double>(loads) : 0.0,
                code.resources.vgprs, other.resources.vgprs,
                occupancy_text("gfx1100", code, c.waves), code.resources.lds_bytes,
                static_cast<double>(c.weight_bytes) / 960e3,
                static_cast<double>(c.weight_bytes) / 256e3);
            std::fflush(stdout);
        }
    }
    return over ? 1 : 0;
}

}  // namespace
}  // namespace hetune

int main(int argc, char** argv) try {
    std::vector<std::string> wanted(argv + 1, argv + argc);
    const bool check = std::erase(wanted, "--check") > 0;
    const bool matrix = std::erase(wanted, "--matrix") > 0;
    int rows = 1;
    if (const auto option = std::ranges::find(wanted, "--rows"); option != wanted.end()) {
        if (option + 1 == wanted.end() || (rows = std::atoi(option[1].c_str())) < 2)
            throw std::runtime_error("--rows takes a number of sequences, 2 or more");
        wanted.erase(option, option + 2);
    }
    return hetune::run(std::move(wanted), check, rows, matrix);
} catch (const std::exception& error) {
    fmt::print(stderr, "kernel_counts: {}\n", error.what());
    return 1;
}
