// Kernels broken on purpose, in every template: each one must be refused by its trial, on the CPU
// device. What passes here says where a trial is too weak.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <map>
#include <set>

#include "kernel_templates/catalogue.h"
#include "runtime/compile/kernel_library.h"
#include "runtime/device/cpu_device.h"
#include "runtime/trial/certify.h"
#include "tests/runtime/broken_templates.h"
#include "tests/runtime/emulated_models.h"
#include "tests/runtime/model_files.h"

namespace hetune {
namespace {

struct Mutation {
    const char* kernel;  // the template that is tried
    const char* file;
    const char* what;
    const char* by;
};

constexpr Mutation kMutations[] = {
    // Products.
    {"gemv", "linear/gemv.hip", "kBias ? sums.v[i] + bias[row] : sums.v[i];",
     "kBias ? sums.v[i] + bias[row] : sums.v[i] * 1.001f;"},
    {"gemv", "linear/gemv.hip", "if (row >= kRows) continue;", "if (row >= kRows - 1) continue;"},
    {"gemv", "linear/gemv.hip", "const int row = group_id() * kTileRows + lane_row(i);",
     "const int row = group_id() * kTileRows + (lane_row(i) ^ 1);"},
    {"gemv_fan", "linear/gemv_fan.hip", "if constexpr (kBias) sum += bias[row];",
     "if constexpr (kBias) sum -= bias[row];"},
    {"gemv_fan", "linear/gemv_fan.hip",
     "norm_factor<kCols>(squares + i64(x.first + t) * (kCols / 32), kEps);",
     "norm_factor<kCols>(squares + i64(x.first) * (kCols / 32), 1.0f);"},
    {"gemv_fan", "linear/gemv_fan.hip", "if (row >= rows_of_w) continue;",
     "if (row >= rows_of_w - 1) continue;"},
    {"gemv_residual", "linear/gemv_residual.hip", "v.v[i] += residual[at];",
     "v.v[i] += residual[lane_row(i) % 16 == 3 ? at - 1 : at];"},
    {"gemv_residual", "linear/gemv_residual.hip",
     "v.v[i] *= norm[group_id() * kTileRows + lane_row(i)];",
     "v.v[i] *= norm[group_id() * kTileRows + (lane_row(i) ^ 1)];"},
    {"gemv_residual", "linear/gemv_residual.hip", "square.v[i] = v.v[i] * v.v[i];",
     "square.v[i] = v.v[i];"},
    {"gemv_swiglu", "linear/gemv_swiglu.hip", "silu(g.v[i] * factor) * (u.v[i] * factor)",
     "silu(u.v[i] * factor) * (g.v[i] * factor)"},
    {"gemv_swiglu", "linear/gemv_swiglu.hip", "* (u.v[i] * factor)", "* u.v[i]"},
    {"gemv_swiglu", "linear/gemv_swiglu.hip", "if (first + t >= rows) return;",
     "if (first + t >= rows - 1) return;"},
    {"gemm", "linear/gemm.hip", "if constexpr (kBias) v += bias[col];",
     "if constexpr (kBias) v += bias[col ^ 1];"},
    {"gemm", "linear/gemm.hip", "if constexpr (kResidual) v += residual[at];",
     "if constexpr (kResidual) v += residual[at] * (row % 16 == 5 ? 1.1f : 1.0f);"},
    {"gemm", "linear/gemm.hip", "half_row_scale<kCols>(x + i64(row_of(m)) *",
     "half_row_scale<kCols>(x + i64(row_of(m ^ 1)) *"},
    {"gemm_swiglu", "linear/gemm_swiglu.hip", "silu(g * scale) * (u * scale)",
     "silu(g * scale) * u"},
    {"gemm_swiglu", "linear/gemm_swiglu.hip", "weights({gate, up},", "weights({up, gate},"},
    {"gemm_swiglu", "linear/gemm_swiglu.hip", "if (row >= rows ||", "if (row >= rows - 1 ||"},
    // Attention.
    {"head_norm_rope", "attention/head_norm_rope.hip", "float(rows_of(step)[row].position), head);",
     "float(rows_of(step)[0].position), head);"},
    {"kv_write", "attention/kv_write.hip",
     "Kv::store_head<kKvHeads, kHeadSize>(v_cache + to, head, v + from);",
     "Kv::store_head<kKvHeads, kHeadSize>(v_cache + to, head, k + from);"},
    {"kv_write", "attention/kv_write.hip", "if (row >= step->rows || head >= kKvHeads) return;",
     "if (row >= step->rows || head >= kKvHeads || (row == 2 && head == 1)) return;"},
    {"kv_write", "attention/kv_write.hip", "cache_row(page, own.position) * Kv",
     "cache_row(page, own.position ^ (row == 1 ? 1 : 0)) * Kv"},
    {"kv_write", "attention/kv_write.hip", "own.slot)[own.position / kPageTokens];",
     "own.slot)[0];"},
    {"kv_write", "attention/kv_write.hip", "|| row >= own.end", ""},
    {"attention_split", "attention/attention_split.hip", "const int last = own.position;",
     "const int last = rows_of(step)[0].position;"},
    {"attention_split", "attention/attention_split.hip", "pages_of(step, pages, own.slot);",
     "pages_of(step, pages, 0);"},
    {"attention_split", "attention/attention_split.hip", "tile += kSplits * kWaves)",
     "tile += 2 * kSplits * kWaves)"},
    {"attention_split", "attention/attention_split.hip", "settled(d == kHeadSize ? peak : total);",
     "settled(d == kHeadSize ? total : peak);"},
    {"attention_merge", "attention/attention_merge.hip", "y[head * kHeadSize + d] = sum * factor;",
     "y[head * kHeadSize + d] = sum * weights;"},
    {"attention_merge", "attention/attention_merge.hip", "const float factor = fast_rcp(weights);",
     "const float factor = fast_rcp(2.0f * weights);"},
    {"attention_merge", "attention/attention_merge.hip",
     "for (int s = 0; s < kSplits; ++s) sum +=", "for (int s = 0; s < kSplits - 1; ++s) sum +="},
    {"attention_step", "attention/attention_step.hip", "float(last), heads[h]);",
     "float(last + 1), heads[h]);"},
    {"attention_step", "attention/attention_step.hip", "is_key ? k_norm : q_norm",
     "is_key ? q_norm : k_norm"},
    {"attention_step", "attention/attention_step.hip",
     "Kv::store_head<kKvHeads, kHeadSize>(v_cache + at, kv_head, v + kv_head * kHeadSize);",
     "Kv::store_head<kKvHeads, kHeadSize>(v_cache + at, kv_head, v);"},
    {"attention_flash", "attention/attention_flash.hip",
     "limit[s] = row_states[token_of(first_row + mat_row(s))].position;",
     "limit[s] = row_states[token_of(first_row + mat_row(s))].position - 1;"},
    {"attention_flash", "attention/attention_flash.hip", "row_states[first_token].slot",
     "row_states->slot"},
    {"attention_step", "attention/attention_step.hip", "pages_of(step, pages, own_row.slot);",
     "pages_of(step, pages, 1);"},
    {"attention_step", "attention/attention_step.hip", "if (last < 0) return;", ""},
    {"attention_step", "attention/attention_step.hip", "(tile + kSplits * kWaves) * 32, last)",
     "tile * 32, last)"},
    {"attention_step", "attention/attention_step.hip", "v_rows + i64(row) * kKvHeads * kHeadSize;",
     "v_rows;"},
    {"attention_flash", "attention/attention_flash.hip", "own_pages[first / kPageTokens]",
     "own_pages[0]"},
    {"attention_flash", "attention/attention_flash.hip", "v *= old[at.slot];", "v *= 1.0f;"},
    {"attention_flash", "attention/attention_flash.hip", "first + 16 * j + at.col <= limit",
     "first + at.col <= limit"},
    // Elements, norms and copies.
    {"binary", "elementwise/binary.hip", "Op::apply(a[at], b[at])",
     "Op::apply(b[at], a[at] + 0.1f)"},
    {"half_rows", "elementwise/half_rows.hip", "v[k] *= factor;",
     "v[k] *= k == 7 ? 1.01f * factor : factor;"},
    {"quantise", "elementwise/quantise.hip", "block * 32 + lane_row(i)]",
     "block * 32 + (lane_row(i) ^ 1)]"},
    {"token_tiles", "elementwise/token_tiles.hip", "imin(first + token, rows - 1)",
     "imin(first + (token ^ 1), rows - 1)"},
    {"token_tiles", "elementwise/token_tiles.hip", "xtile_place(word - kHead)", "word - kHead"},
    {"token_tiles", "elementwise/token_tiles.hip", "word < 2 ? tile.scales : tile.halves",
     "word % 2 == 0 ? tile.scales : tile.halves"},
    {"scale", "elementwise/scale.hip", "scaled + bias[col]", "scaled + bias[0]"},
    {"scale", "elementwise/scale.hip", "if (row >= step->rows || col >= kCols) return;",
     "if (row >= step->rows || col >= kCols - 1) return;"},
    {"scale_by_sigmoid", "elementwise/scale_by_sigmoid.hip", "sigmoid(s[row])", "sigmoid(s[0])"},
    {"split_heads", "elementwise/split_heads.hip", "x[(2 * head + 1) * kHeadSize + d]",
     "x[2 * head * kHeadSize + d]"},
    {"take_row", "elementwise/take_row.hip", "i64(row) * kCols", "i64(row - 1) * kCols"},
    {"rmsnorm", "norm/rmsnorm.hip", "(1.0f / kCols) + kEps", "(1.0f / kCols) * 1.001f + kEps"},
    {"gated_rmsnorm", "norm/gated_rmsnorm.hip", "silu(z[head + i])", "silu(z[i])"},
    {"embed", "embed/embed.hip", "token % kTileRows, k % kSteps", "token % kTileRows, 0"},
    {"embed_norm", "embed/embed_norm.hip", "values[i] *= norm[k * 32 + i];",
     "values[i] *= norm[i];"},
    {"embed_norm", "embed/embed_norm.hip", "squares[block] = square;",
     "squares[block] = square - values[0];"},
    // Experts.
    {"router", "moe/router.hip", "ids + row * kUsed,", "ids + (row ^ 1) * kUsed,"},
    {"router", "moe/choose_experts.h",
     "const int winner = wave_min(best == top ? at : kExperts - 1);",
     "const int winner = wave_max(best == top ? at : 0);"},
    {"router_groups", "moe/router_groups.hip", "fast_exp(first - peak) + fast_exp(second - peak)",
     "fast_exp(first - peak)"},
    {"router_groups", "moe/router_groups.hip", "if (lane_id() == winner) score = -1.0f;", ""},
    {"scale_shares", "moe/scale_shares.hip", "s[ids[slot]]", "s[ids[slot] ^ 1]"},
    {"scale_shares", "moe/scale_shares.hip", "if (slot >= step->rows * kUsed) return;",
     "if (slot >= step->rows * kUsed - 1) return;"},
    {"expert_groups", "moe/expert_groups.hip", "imin(at + kTokens, behind) - 1}",
     "imin(at + kTokens, behind)}"},
    {"moe_route", "moe/moe_route.hip", "x[column] * norm[column] : x[column]",
     "x[column] * norm[column ^ 1] : x[column]"},
    {"moe_route", "moe/moe_route.hip", "return sum * factor;", "return sum * factor * 1.01f;"},
    {"moe_route", "moe/moe_route.hip", "if (is_last) *counter = 0;", ""},
    {"moe_route", "moe/moe_route.hip", "squares + i64(row) * (kCols / 32)", "squares"},
    {"moe_gate_up", "moe/moe_gate_up.hip", "ids[row * kUsed + slot] * (kRows / kTileRows) + tile",
     "ids[row * kUsed] * (kRows / kTileRows) + tile"},
    {"moe_gate_up", "moe/moe_gate_up.hip", "ids[row * kUsed + slot] * (kRows / kTileRows) + tile",
     "ids[slot] * (kRows / kTileRows) + tile"},
    {"moe_gate_up", "moe/moe_gate_up.hip", "input.rows[t] = own.rows[t];", "input.rows[t] = 0;"},
    {"moe_gate_up", "moe/expert_rows.h", "own.rows[t] = base + lane;", "own.rows[t] = row;"},
    {"moe_gate_up", "moe/expert_rows.h", "users &= users - 1;", ""},
    {"moe_gate_up", "moe/moe_gate_up.hip",
     "product<SharedGate, SharedUp, kCount>(shared_gate, shared_up,",
     "product<SharedGate, SharedUp, kCount>(shared_up, shared_gate,"},
    {"moe_gate_up", "moe/moe_gate_up.hip", "if (tile >= kRows / kTileRows) return;",
     "if (tile >= kRows / kTileRows - 1) return;"},
    {"moe_down", "moe/experts_of_token.h", "fused_mul_add(own_shares[k],",
     "fused_mul_add(own_shares[0],"},
    {"moe_down", "moe/experts_of_token.h", "shares + token * (kUsed + 1);", "shares;"},
    {"moe_down", "moe/moe_down.hip", "x_rows) + token * kRowBytes;", "x_rows);"},
    {"moe_down", "moe/experts_of_token.h", "kSharedGate ? own_shares[kUsed] * own : own", "own"},
    {"moe_down", "moe/experts_of_token.h", "residual[i64(token) * kRows + row];", "residual[row];"},
    {"moe_down_products", "moe/moe_down_products.hip", "+ first + own.slots[t];", "+ first;"},
    {"moe_down_products", "moe/moe_down_products.hip", "if (t < own.count)",
     "if (t < own.count - 1)"},
    {"moe_down_products", "moe/moe_down_products.hip",
     "ids[row * kUsed + slot] * (kRows / kTileRows) + tile",
     "ids[row * kUsed] * (kRows / kTileRows) + tile"},
    {"moe_down_products", "moe/expert_rows.h", "own.slots[t] = slot_of_expert<kUsed>(",
     "own.slots[t] = 0 * slot_of_expert<kUsed>("},
    {"moe_down_sum", "moe/moe_down_sum.hip", "return own[k * kRows];", "return own[0];"},
    {"moe_down_sum", "moe/moe_down_sum.hip", "i64(token) * kSlots * kRows +", ""},
    {"moe_down_sum", "moe/experts_of_token.h",
     "sum += kSharedGate ? own_shares[kUsed] * own : own;", ""},
    {"experts_gate_up", "moe/experts_gate_up.hip", "input{x, row, row};", "input{x, 0, 0};"},
    {"experts_gate_up", "moe/experts_gate_up.hip", "ids[slot] *", "ids[slot ^ 1] *"},
    {"experts_gate_up", "moe/experts_gate_up.hip", "silu(g[0]) * u[0]", "silu(u[0]) * g[0]"},
    {"experts_down", "moe/experts_down.hip", "shares[first + k]", "shares[k]"},
    {"experts_down", "moe/experts_down.hip", "{x, first + k, first + k}", "{x, first, first}"},
    {"experts_down", "moe/experts_down.hip", "ids[first + k] *", "ids[first] *"},
    {"experts_gate_up_grouped", "moe/experts_gate_up_grouped.hip",
     "const int slot = order[chunk.first + t];",
     "const int slot = order[chunk.first + (t > 0 ? t - 1 : t)];"},
    {"experts_gate_up_grouped", "moe/experts_gate_up_grouped.hip",
     "row_tile_dot<Up, kCols, kTokens, kWaves>(up, tile",
     "row_tile_dot<Up, kCols, kTokens, kWaves>(up, group_id()"},
    {"experts_gate_up_grouped", "moe/experts_gate_up_grouped.hip", "silu(gate_sum) * up_sum",
     "silu(gate_sum + 0.01f) * up_sum"},
    {"experts_down_grouped", "moe/experts_down_grouped.hip", "chunk.expert * (kRows / kTileRows)",
     "(chunk.expert ^ 1) * (kRows / kTileRows)"},
    {"experts_down_grouped", "moe/experts_down_grouped.hip", "slots.of<kQuantisedInput, 1>(x)",
     "slots.of<kQuantisedInput, 2>(x)"},
    {"experts_down_grouped", "moe/experts_down_grouped.hip", "if (t >= slots.count) return;",
     "if (t >= slots.count - 1) return;"},
    {"experts_gate_up_gemm", "moe/experts_gate_up_gemm.hip", "silu(g * scale) * (u * scale)",
     "silu(g * scale) * (g * scale)"},
    {"experts_gate_up_gemm", "moe/experts_gate_up_gemm.hip",
     "const int matrix = chunk.expert * kTiles;", "const int matrix = 0;"},
    {"experts_gate_up_gemm", "moe/experts_gate_up_gemm.hip", "if (chunk.first + m > chunk.last ||",
     "if (chunk.first + m >= chunk.last ||"},
    {"experts_down_gemm", "moe/experts_down_gemm.hip", "= sum * scale;",
     "= sum * settled(scales[0]);"},
    {"experts_down_gemm", "moe/experts_down_gemm.hip", "gemm_tile(sums, x, slot_of,",
     "gemm_tile(sums, x, [&](int m) { return slot_of(m ^ 1); },"},
    {"experts_down_gemm", "moe/experts_down_gemm.hip", "matrix + group_id() * Shape::kRowTiles",
     "matrix"},
    {"experts_sum", "moe/experts_sum.hip", "shares[row * kUsed + k]", "shares[k]"},
    {"experts_sum", "moe/experts_sum.hip", "(i64(row) * kUsed + k) * kCols + col]",
     "(i64(row) * kUsed + 0 * k) * kCols + col]"},
    {"experts_sum", "moe/experts_sum.hip", "for (int k = 0; k < kUsed; ++k)",
     "for (int k = 0; k < kUsed - 1; ++k)"},
    // Recurrent layers.
    {"causal_conv", "recurrent/causal_conv.hip",
     "state[(own.position + 1 + j) % kTaps * kWidth + channel]",
     "state[(own.position + j) % kTaps * kWidth + channel]"},
    {"causal_conv", "recurrent/causal_conv.hip", "weights[j] = w[channel * kTaps + j];",
     "weights[j] = w[channel * kTaps + kTaps - 1 - j];"},
    {"causal_conv", "recurrent/causal_conv.hip",
     "for (int row = imax(own.end - kTaps, first); row < own.end; ++row)",
     "for (int row = imax(own.end - kTaps, first); row < own.end - 1; ++row)"},
    {"causal_conv", "recurrent/causal_conv.hip", "row < own.end; ++row)", "row < rows; ++row)"},
    {"causal_conv", "recurrent/causal_conv.hip", "if (first != own.begin) return;",
     "if (first != 0) return;"},
    {"delta_net", "recurrent/delta_net.hip", "fmax2(wave_sum(qq), kEps * kEps) * kKeySize)",
     "fmax2(wave_sum(qq), kEps * kEps))"},
    {"delta_net", "recurrent/delta_net.hip", "dt_bias[head]));", "dt_bias[0]));"},
    {"delta_net", "recurrent/delta_net.hip", "k_scale * delta, decay * s[i]);",
     "k_scale * delta, s[i]);"},
    {"delta_net", "recurrent/delta_net.hip", "if (row == own_row.begin) {", "if (row == 0) {"},
    {"delta_net", "recurrent/delta_net.hip", "row != own_row.end - 1", "row != rows - 1"},
    {"delta_net_prepare", "recurrent/delta_net_prepare.hip", "= rows_of(step)[first].end;",
     "= rows;"},
    {"delta_net_prepare", "recurrent/delta_net_prepare.hip", "token < row ? rate[row]",
     "token < row ? rate[token]"},
    {"delta_net_prepare", "recurrent/delta_net_prepare.hip", "= kn * to_end;", "= kn;"},
    {"delta_net_prepare", "recurrent/delta_net_prepare.hip", "token <= row ? decay * qk[t]",
     "token < row ? decay * qk[t]"},
    {"delta_net_chunk", "recurrent/delta_net_chunk.hip", "+ safe_column] - seen[t];",
     "+ safe_column] + seen[t];"},
    {"delta_net_chunk", "recurrent/delta_net_chunk.hip", "s[i] = decay * columns",
     "s[i] = columns"},
    {"delta_net_chunk", "recurrent/delta_net_chunk.hip",
     "read, in + Chunk::kM + first_token * kChunk, d + lane);",
     "read, in + Chunk::kQ + first_token * kChunk, d + lane);"},
    {"delta_net_matrix", "recurrent/delta_net_matrix.hip", "{ value *= decay; }",
     "{ value *= 1.0f; }"},
    {"delta_net_matrix", "recurrent/delta_net_matrix.hip",
     "multiply_split(read, lds.m, token_tile, lds.d, column_tile);", ""},
    {"delta_net_matrix", "recurrent/delta_net_matrix.hip",
     "if (row < step->rows && column < kValueSize)",
     "if (row < step->rows - 1 && column < kValueSize)"},
    {"delta_net_matrix", "recurrent/delta_net_matrix.hip", "rows_of(step)[first].begin == begin;",
     "true;"},
    {"delta_net_chunk", "recurrent/delta_net_chunk.hip", "rows_of(step)[first].begin == begin;",
     "true;"},
    {"delta_step", "recurrent/delta_step.hip", "decay * k_scale * seen);", "k_scale * seen);"},
    {"delta_step", "recurrent/delta_step.hip", "k_scale * delta, decay * s[u][i]);",
     "k_scale * delta, decay * s[u][0]);"},
    {"delta_step", "recurrent/delta_step.hip", "if (position < 0) return;", ""},
    {"delta_step", "recurrent/delta_step.hip", "i64(own_row.slot) * step->state_stride;",
     "i64(1) * step->state_stride;"},
    {"delta_step", "recurrent/delta_step.hip", "z_rows + i64(row) * kValueHeads * kValueSize;",
     "z_rows;"},
    {"delta_step", "recurrent/delta_step.hip", "silu(z[head * kValueSize + i])", "silu(z[i])"},
    // Draws.
    {"sample", "sampling/sample.hip",
     "const float inverse = fast_rcp(fmax2(state->temperature, 1e-30f));",
     "const float inverse = 1.0f;"},
    {"sample", "sampling/sample.hip", "if (state->min_p > 0.0f)", "if (state->min_p > 1.0f)"},
    {"sample", "sampling/sample.hip", "if (state->top_p < 1.0f) {", "if (state->top_p < 0.0f) {"},
    {"sample", "sampling/sample.hip", "if (state->top_k > 0 && state->top_k < count)",
     "if (state->top_k > 5 && state->top_k < count)"},
    {"sample", "sampling/sample.hip", "uniform(state->seed, u32(state->count))", "uniform(1, 1)"},
    {"sample", "sampling/sample.hip", "states + own_row->slot;", "states + 1;"},
    {"sample", "sampling/sample.hip", "rings + own_row->slot * kTokenRing;",
     "rings + (row + 1) * kTokenRing;"},
    {"sample", "sampling/sample.hip", "if (own_row->position < 0) return;", ""},
    {"repeat", "sampling/repeat.hip", "done < loop->rounds &&", "done <= loop->rounds &&"},
};

// Templates of which one mutation is too few: most of the time of a model is spent there, or what
// goes wrong once stays in a cache or a state.
bool wants_three(std::string_view name) {
    for (const std::string_view prefix :
         {"gemv", "gemm", "attention_", "moe_", "experts_", "delta_"})
        if (name.starts_with(prefix)) return true;
    return name == "kv_write" || name == "causal_conv" || name == "sample";
}

TEST_CASE("the catalogue's templates have mutations, those that matter most three") {
    std::map<std::string, int, std::less<>> counts;
    for (const Mutation& m : kMutations) {
        CAPTURE(m.kernel);
        CHECK(find_template(m.kernel) != nullptr);
        ++counts[m.kernel];
    }
    for (const TemplateInfo* info : all_templates()) {
        if (info->layer == "bench") continue;  // no plan has these
        CAPTURE(info->name);
        CHECK(counts[info->name] >= (wants_three(info->name) ? 3 : 1));
    }
}

// A step of a small model that a template is tried with.
struct Subject {
    std::shared_ptr<const ModelFile> file;
    std::shared_ptr<const ModelPlans> plans;
    const Plan* plan;
    const PlanStep* step;
};

// Of each template its different kernels, in the order of the models.
std::map<std::string, std::vector<Subject>> subjects_of(const Arch& arch) {
    std::map<std::string, std::vector<Subject>> by_template;
    std::map<KernelSpec, size_t> seen;  // in the template's list
    for (const testing::EmulatedModel& model : testing::emulated_models()) {
        const auto file = std::make_shared<const ModelFile>(
            testing::written_model(model, "Q4_K_M", HETUNE_BUILD_DIR "/test-models/mutations"));
        const LayerGraph graph = build_layer_graph(*file);
        for (LoadOptions options : model.sessions) {
            options.context = 128;
            // Experts are shared from 16 sequences on.
            options.sequences = model.shape.experts > 0 ? 16 : 3;
            for (const bool matrix : {options.prefill_rows >= kMatrixRows, false}) {
                options.matrix = matrix;
                const auto plans =
                    std::make_shared<const ModelPlans>(model_plans(graph, *file, arch, options));
                std::vector<const Plan*> list;
                for (const Plan& sampler : plans->samplers) list.push_back(&sampler);
                for (const Plan& plan : plans->steps) list.push_back(&plan);
                // The step with the most sequences tries most of a kernel that several share.
                std::ranges::stable_sort(list, std::ranges::greater(),
                                         [](const Plan* plan) { return plan->options.sequences; });
                for (const Plan* plan : list)
                    for (size_t i = 0; i < plan->kernels.size(); ++i) {
                        const KernelSpec& spec = plan->kernels[i];
                        auto& own = by_template[spec.name];
                        const Subject subject{file, plans, plan,
                                              &plan->first_use(static_cast<int>(i))};
                        const auto [at, is_new] = seen.emplace(spec, own.size());
                        if (is_new) {
                            own.push_back(subject);
                            continue;
                        }
                        // The longest step of a prompt is taken: it has room for two sequences.
                        Subject& before = own[at->second];
                        if (!plan->options.decodes() && !before.plan->options.decodes() &&
                            plan->options.rows > before.plan->options.rows)
                            before = subject;
                    }
            }
        }
    }
    return by_template;
}

std::string failure_of(Device& device, KernelLibrary& library, const Subject& subject) {
    const CodeObject code = library.get({subject.plan->spec(*subject.step)}).at(0);
    const auto module = device.load(code);
    TrialDevice on{.device = device};
    return try_out({on, *module, *subject.plan, *subject.step, *subject.file}).failure;
}

TEST_CASE("every mutation of every template is refused by a trial, and the templates pass") {
    const auto device = open_cpu_device(0);
    const auto subjects = subjects_of(device->arch());
    KernelLibrary whole(device->arch(), code_store(), read_environment());
    std::set<std::string> mutated;
    int refused = 0;
    for (const Mutation& m : kMutations) {
        INFO(fmt::format("{}: {} -> {}", m.kernel, m.what, m.by));
        const auto found = subjects.find(m.kernel);
        CHECK(found != subjects.end());  // a plan for the CPU has it
        if (found == subjects.end()) continue;
        mutated.insert(m.kernel);
        testing::BrokenTemplates templates;
        templates.replace(m.file, m.what, m.by);
        Environment environment = read_environment();
        environment.template_dir = templates.path();
        KernelLibrary broken(device->arch(), code_store(), environment);
        // Until one of the template's kernels shows it: a flag may switch off what was changed.
        std::string failure;
        for (const Subject& subject : found->second) {
            if (!failure.empty()) break;
            failure = failure_of(*device, broken, subject);
        }
        CHECK(failure != "");
        refused += failure.empty() ? 0 : 1;
    }
    for (const auto& [name, list] : subjects) {
        CAPTURE(name);
        CHECK(mutated.contains(name));
        for (const Subject& subject : list) CHECK(failure_of(*device, whole, subject) == "");
    }
    MESSAGE(refused, " mutations refused, of ", subjects.size(), " templates");
}

}  // namespace
}  // namespace hetune
