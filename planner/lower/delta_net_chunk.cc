// The gated delta rule of a prefill step, chunk by chunk.
#include "planner/lower/delta_net_chunk.h"

#include "planner/lower/plan_builder.h"

namespace hetune {
namespace {

// Tokens of a chunk, and the fewest rows of a step for which it is worth it: a chunk is computed as
// a whole, however few of its tokens a step has. kernel_templates/recurrent/delta_chunk.h says
// why 32.
constexpr int kChunk = kDeltaNetChunk;

// DeltaChunk::kFloats of kernel_templates/recurrent/delta_chunk.h.
int64_t chunk_floats(int64_t key_size, int64_t value_size) {
    return kChunk * (3 * key_size + value_size + kChunk) + 16;
}

bool chunks_fit(const PlanBuilder& b, const ops::DeltaNet& op) {
    return b.options.fusion && b.rows(op.qkv) >= kChunk && op.key_size % 8 == 0 &&
           op.key_size <= 128;  // LDS
}

void lower_delta_net_chunk(PlanBuilder& b, const ops::DeltaNet& op) {
    const ValueId qkv = op.qkv, y = op.y;
    const int64_t rows = b.rows(qkv), chunks = (rows + kChunk - 1) / kChunk;
    const int64_t heads = op.value_heads;
    const int64_t key_size = op.key_size, value_size = op.value_size;
    const int waves = b.arch.waves(4);
    const int64_t state_bytes = heads * key_size * value_size * 4;
    const PlanArg in = b.in(qkv), alpha = b.in(op.a), beta = b.in(op.b);
    const PlanArg scratch = b.scratch(chunks * heads * chunk_floats(key_size, value_size) * 4);

    const int prepare_waves = b.tunable("delta_net_prepare", "kWaves", waves);
    EmittedStep prepare{
        .label = b.name(y) + ".prepare",
        .spec = {"delta_net_prepare",
                 {{"kKeyHeads", constant(op.key_heads)},
                  {"kValueHeads", constant(heads)},
                  {"kKeySize", constant(key_size)},
                  {"kValueSize", constant(value_size)},
                  {"kEps", constant(op.eps)},
                  {"kChunk", constant(kChunk)},
                  {"kWaves", constant(prepare_waves)}}},
        .args = {b.step(qkv), in, alpha, beta, b.raw(op.ssm_a), b.raw(op.dt_bias), scratch},
        .groups = {static_cast<uint32_t>(heads), static_cast<uint32_t>(chunks), 1},
        .threads = static_cast<uint32_t>(32 * prepare_waves),
        .rows_axis = 1,
        .rows_per_group = kChunk};
    prepare.cost.activation_bytes = rows * b.width(qkv) * 4 + scratch.bytes;
    prepare.cost.operations = 2 * rows * heads * kChunk * (3 * key_size + value_size);
    b.emit(std::move(prepare));

    const bool by_matrix = b.options.by_matrix() && key_size % 32 == 0;
    KernelSpec spec{by_matrix ? "delta_net_matrix" : "delta_net_chunk",
                    {{"kValueHeads", constant(heads)},
                     {"kKeySize", constant(key_size)},
                     {"kValueSize", constant(value_size)},
                     {"kChunk", constant(kChunk)}}};
    const int step_waves = by_matrix ? 4 : b.tunable("delta_net_chunk", "kWaves", waves);
    if (!by_matrix) spec.constants["kWaves"] = constant(step_waves);
    EmittedStep step{
        .label = b.name(y),
        .spec = std::move(spec),
        .args = {b.step(qkv), scratch,
                 b.state("state." + std::to_string(op.state) + ".delta", state_bytes), b.out(y)},
        .groups = {static_cast<uint32_t>(heads), static_cast<uint32_t>((value_size + 31) / 32),
                   static_cast<uint32_t>(chunks)},
        .threads = static_cast<uint32_t>(32 * step_waves),
        .rows_axis = 2,
        .rows_per_group = kChunk};
    step.cost.activation_bytes = scratch.bytes + rows * b.width(y) * 4 + 2 * state_bytes;
    step.cost.operations = 2 * rows * heads * value_size * (3 * key_size + kChunk);
    b.emit(std::move(step));
}

}  // namespace

constinit const Lowering<ops::DeltaNet> kDeltaNetByChunks = {
    .variant = "chunked", .fits = chunks_fit, .emit = lower_delta_net_chunk};

}  // namespace hetune
