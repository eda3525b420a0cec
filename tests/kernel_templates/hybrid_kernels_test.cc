// Kernels of gated delta nets, gated attention and mixtures of experts against the oracle.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernel_templates/catalogue.h"
#include "planner/make_plan.h"
#include "planner/plan/plan.h"
#include "runtime/compile/compiler.h"
#include "runtime/oracle/primitives.h"
#include "tests/cache/test_folder.h"
#include "tests/kernel_templates/kernel_run.h"
#include "tools/synth/synthetic.h"

namespace hetune::testing {
namespace {

constexpr double kTolerance = 1e-5;           // float arithmetic in another order
constexpr double kRecurrentTolerance = 1e-4;  // the same, carried along by a state
// Products of 8-bit blocks are exact, and the oracle gets the same blocks.
constexpr double kQuantisedTolerance = 2e-4;

std::string text(int64_t v) { return std::to_string(v); }
std::string text(bool v) { return v ? "true" : "false"; }

std::span<const float> piece(const std::vector<float>& values, int64_t index, int64_t width) {
    return std::span(values).subspan(static_cast<size_t>(index * width),
                                     static_cast<size_t>(width));
}
std::span<float> piece(std::vector<float>& values, int64_t index, int64_t width) {
    return std::span(values).subspan(static_cast<size_t>(index * width),
                                     static_cast<size_t>(width));
}

// What this file is about.
constexpr std::string_view kLayers[] = {"split_heads",     "causal_conv", "delta_net",
                                        "gated_rmsnorm",   "router",      "experts",
                                        "scale_by_sigmoid"};

// Buffers of the rows that a step does not have keep their poison.
bool untouched(std::span<const float> values) {
    return std::ranges::all_of(values, [](float v) { return std::isnan(v); });
}

TEST_CASE("split_heads takes the halves of each head apart") {
    check({{.spec = {"split_heads", {{"kHeads", "3"}, {"kHeadSize", "40"}, {"kWaves", "2"}}},
            .groups = {groups_of(120, 64), 2},
            .threads = 64,
            .rows = 2}});
}

TEST_CASE("scale_by_sigmoid equals the oracle and leaves rows beyond the step alone") {
    check({{.spec = {"scale_by_sigmoid", {{"kCols", "100"}, {"kWaves", "1"}}},
            .groups = {groups_of(100, 32), 9},
            .rows = 9,
            .tolerance = kTolerance}});
}

TEST_CASE("gated_rmsnorm equals the oracle at head sizes that do not fill the wave") {
    std::vector<KernelCase> cases;
    for (const int64_t size : {16, 64, 100})
        cases.push_back({.spec = {"gated_rmsnorm",
                                  {{"kHeads", "3"}, {"kHeadSize", text(size)}, {"kEps", "1e-6f"}}},
                         .groups = {3, 2},
                         .rows = 2,
                         .behind = {{"w", {"floats", 1, size}}},
                         .tolerance = kTolerance});
    check(cases);
}

TEST_CASE("causal_conv carries its state from step to step, and no row beyond the step enters it") {
    constexpr int64_t kWidth = 70, kTaps = 4, kRows = 19, kOfGroup = 4;
    const auto x = random_floats(kRows * kWidth, 1), w = random_floats(kWidth * kTaps, 2);
    std::vector<float> padded((kTaps - 1) * kWidth);
    padded.insert(padded.end(), x.begin(), x.end());
    std::vector<float> wanted(x.size());
    for (int64_t r = 0; r < kRows; ++r)
        for (int64_t c = 0; c < kWidth; ++c) {
            double sum = 0;
            for (int64_t j = 0; j < kTaps; ++j)
                sum += static_cast<double>(w[static_cast<size_t>(c * kTaps + j)]) *
                       static_cast<double>(padded[static_cast<size_t>((r + j) * kWidth + c)]);
            wanted[static_cast<size_t>(r * kWidth + c)] = static_cast<float>(reference::silu(sum));
        }
    std::vector<float> state(kTaps * kWidth);
    int64_t done = 0;
    for (const int rows : {1, 2, 6, 10}) {
        CAPTURE(rows);
        KernelRun run({"causal_conv",
                       {{"kWidth", text(kWidth)},
                        {"kTaps", text(kTaps)},
                        {"kRows", text(kOfGroup)},
                        {"kWaves", "1"}}});
        const std::vector<float> rest(x.begin() + done * kWidth, x.end());
        run.step(static_cast<int>(done), rows).in(rest).in(w).in(state).out(rest.size() * 4);
        run.launch({groups_of(kWidth, 32), groups_of(kRows, kOfGroup)}, 32);
        const auto got = run.get<float>(4);
        const std::vector<float> part(wanted.begin() + done * kWidth,
                                      wanted.begin() + (done + rows) * kWidth);
        CHECK(relative_error(got, part) < kTolerance);
        CHECK(untouched(std::span(got).subspan(part.size())));
        state = run.get<float>(3);
        done += rows;
        for (int64_t p = std::max<int64_t>(0, done - kTaps); p < done; ++p)  // a ring by position
            CHECK(std::ranges::equal(piece(state, p % kTaps, kWidth), piece(x, p, kWidth)));
    }
}

struct DeltaNet {
    int64_t key_heads, heads, key_size, value_size, waves;
    int64_t chunk = 0;  // 0: token by token
    bool by_matrix = false;

    int64_t channels() const { return 2 * key_heads * key_size + heads * value_size; }
    KernelSpec spec() const {
        return {"delta_net",
                {{"kKeyHeads", text(key_heads)},
                 {"kValueHeads", text(heads)},
                 {"kKeySize", text(key_size)},
                 {"kValueSize", text(value_size)},
                 {"kEps", "1e-6f"},
                 {"kWaves", text(waves)}}};
    }
    KernelSpec prepare_spec() const {
        KernelSpec prepare = spec();
        prepare.name = "delta_net_prepare";
        prepare.constants["kChunk"] = text(chunk);
        return prepare;
    }
    KernelSpec chunk_spec() const {
        KernelSpec step = prepare_spec();
        step.name = "delta_net_chunk";
        step.constants.erase("kKeyHeads");
        step.constants.erase("kEps");
        if (by_matrix) {
            step.name = "delta_net_matrix";
            step.constants.erase("kWaves");  // always four
        }
        return step;
    }
    size_t chunk_bytes() const {
        return static_cast<size_t>(chunk * (3 * key_size + value_size + chunk) + 16) * 4;
    }
};

struct DeltaNetStep {
    std::vector<float> qkv, a, b, rate, bias, state;
};

// y, with the state moved on; buffers hold `room` rows.
std::vector<float> run_delta_net(const DeltaNet& net, DeltaNetStep& in, int position, int rows,
                                 int64_t room) {
    const size_t y_bytes = static_cast<size_t>(room * net.heads * net.value_size) * 4;
    const auto heads = static_cast<uint32_t>(net.heads),
               threads = static_cast<uint32_t>(32 * net.waves);
    if (net.chunk == 0) {
        KernelRun run(net.spec());
        run.step(position, rows)
            .in(in.qkv)
            .in(in.a)
            .in(in.b)
            .in(in.rate)
            .in(in.bias)
            .in(in.state)
            .out(y_bytes);
        run.launch({heads, groups_of(net.value_size, 32)}, threads);
        in.state = run.get<float>(6);
        return run.get<float>(7);
    }
    const uint32_t chunks = groups_of(rows, net.chunk);
    KernelRun prepare(net.prepare_spec());
    prepare.step(position, rows).in(in.qkv).in(in.a).in(in.b).in(in.rate).in(in.bias);
    prepare.out(chunks * static_cast<size_t>(net.heads) * net.chunk_bytes())
        .launch({heads, chunks}, threads);
    KernelRun step(net.chunk_spec());
    step.step(position, rows).in(prepare.get<float>(6)).in(in.state).out(y_bytes);
    step.launch({heads, groups_of(net.value_size, 32)}, threads);
    in.state = step.get<float>(2);
    return step.get<float>(3);
}

void check_delta_net(const DeltaNet& net, const std::vector<int>& steps) {
    const int64_t kRows = std::accumulate(steps.begin(), steps.end(), int64_t{0});
    const auto qkv = random_floats(static_cast<size_t>(kRows * net.channels()), 1);
    const auto a = random_floats(static_cast<size_t>(kRows * net.heads), 2);
    const auto b = random_floats(a.size(), 3),
               bias = random_floats(static_cast<size_t>(net.heads), 4);
    auto rate = random_floats(bias.size(), 5);
    for (float& r : rate) r = -std::abs(r);
    const int64_t head_state = net.key_size * net.value_size;
    auto state = random_floats(static_cast<size_t>(net.heads * head_state), 6);

    std::vector<float> wanted(static_cast<size_t>(kRows * net.heads * net.value_size));
    std::vector<float> wanted_state = state;
    const int64_t keys = net.key_heads * net.key_size;
    for (int64_t r = 0; r < kRows; ++r)
        for (int64_t h = 0; h < net.heads; ++h) {
            const auto row = piece(qkv, r, net.channels());
            const auto at = static_cast<size_t>(r * net.heads + h), head = static_cast<size_t>(h);
            const auto part = [&](int64_t first, int64_t size) {
                return row.subspan(static_cast<size_t>(first), static_cast<size_t>(size));
            };
            reference::delta_rule(piece(wanted_state, h, head_state),
                                  part(h % net.key_heads * net.key_size, net.key_size),
                                  part(keys + h % net.key_heads * net.key_size, net.key_size),
                                  part(2 * keys + h * net.value_size, net.value_size),
                                  rate[head] * reference::softplus(a[at] + bias[head]),
                                  reference::sigmoid(b[at]), 1e-6,
                                  piece(wanted, r * net.heads + h, net.value_size));
        }

    std::vector<float> got;
    for (const int rows : steps) {  // the state goes on; buffers always have all rows
        const auto done = static_cast<int64_t>(got.size()) / (net.heads * net.value_size);
        const auto from = [&](const std::vector<float>& values, int64_t width) {
            std::vector<float> rest(values.begin() + done * width, values.end());
            rest.resize(values.size(), 1e3f);
            return rest;
        };
        DeltaNetStep in{
            from(qkv, net.channels()), from(a, net.heads), from(b, net.heads), rate, bias, state};
        const auto y = run_delta_net(net, in, static_cast<int>(done), rows, kRows);
        state = in.state;
        got.insert(got.end(), y.begin(), y.begin() + rows * net.heads * net.value_size);
        CHECK(untouched(
            std::span(y).subspan(static_cast<size_t>(rows * net.heads * net.value_size))));
    }
    CHECK(relative_error(got, wanted) < kRecurrentTolerance);
    CHECK(relative_error(state, wanted_state) < kRecurrentTolerance);
}

TEST_CASE("delta_net equals the oracle over steps of several rows, and so does its state") {
    for (const DeltaNet& net : {DeltaNet{2, 4, 64, 64, 1}, DeltaNet{2, 4, 64, 64, 4},
                                DeltaNet{1, 3, 16, 40, 2}, DeltaNet{2, 2, 128, 32, 8}}) {
        CAPTURE(net.spec().to_string());
        check_delta_net(net, {1, 4, 2});
    }
}

TEST_CASE(
    "delta_net in chunks equals the oracle: whole chunks, parts of them, one row, over 320 "
    "tokens") {
    for (const DeltaNet& net : {DeltaNet{2, 4, 64, 64, 1, 32}, DeltaNet{2, 4, 64, 64, 4, 32},
                                DeltaNet{1, 3, 16, 40, 2, 32}, DeltaNet{2, 2, 128, 32, 8, 32},
                                DeltaNet{1, 2, 32, 32, 4, 16}}) {
        CAPTURE(net.prepare_spec().to_string());
        check_delta_net(net, {33, 1, 64, 7});
    }
    check_delta_net({2, 4, 64, 64, 1, 32}, {320});
}

TEST_CASE("delta_net in chunks on the matrix units equals the oracle") {
    for (const DeltaNet& net :
         {DeltaNet{2, 4, 64, 64, 4, 32, true}, DeltaNet{1, 3, 32, 40, 4, 32, true},
          DeltaNet{2, 2, 128, 32, 4, 32, true}}) {
        CAPTURE(net.prepare_spec().to_string());
        check_delta_net(net, {33, 1, 64, 7});
    }
    check_delta_net({2, 4, 64, 64, 4, 32, true}, {320});
}

TEST_CASE(
    "delta_net in chunks stays exact where a head forgets all at once, and where it forgets "
    "nothing") {
    for (const float decay : {-300.0f, 0.0f}) {
        CAPTURE(decay);
        const DeltaNet serial{1, 1, 32, 32, 1};
        for (const DeltaNet& net :
             {DeltaNet{1, 1, 32, 32, 1, 32}, DeltaNet{1, 1, 32, 32, 4, 32, true}}) {
            constexpr int64_t kRows = 64;
            DeltaNetStep in{random_floats(static_cast<size_t>(kRows * net.channels()), 1),
                            random_floats(kRows, 2),
                            random_floats(kRows, 3),
                            {decay},
                            {1.0f},
                            random_floats(32 * 32, 4)};
            for (size_t row = 0; row < kRows; ++row)  // only some rows forget
                if (row % 9 != 4) in.a[row] = -100.0f;
            DeltaNetStep other = in;
            const auto got = run_delta_net(net, in, 0, kRows, kRows);
            CHECK(relative_error(got, run_delta_net(serial, other, 0, kRows, kRows)) <
                  kRecurrentTolerance);
            CHECK(relative_error(in.state, other.state) < kRecurrentTolerance);
        }
    }
}

TEST_CASE("router takes the experts of the largest probability, the lower number on a tie") {
    for (const auto& [experts, used, renormalise] :
         {std::tuple{8, 2, true}, {256, 8, true}, {60, 4, false}, {33, 32, true}}) {
        CAPTURE(experts);
        constexpr int64_t kRows = 5;
        auto logits = random_floats(static_cast<size_t>(kRows * experts), 1);
        for (float& v : piece(logits, 1, experts)) v = 0.5f;               // all alike
        for (float& v : piece(logits, 2, experts)) v = std::round(v * 3);  // many ties
        KernelRun run({"router",
                       {{"kExperts", text(int64_t{experts})},
                        {"kUsed", text(int64_t{used})},
                        {"kRenormalise", text(renormalise)}}});
        run.step(0, 4).in(logits);
        run.out(static_cast<size_t>(kRows * used) * 4).out(static_cast<size_t>(kRows * used) * 4);
        run.launch({kRows}, 32);
        const auto ids = run.get<int>(2);
        const auto shares = run.get<float>(3);
        for (int64_t r = 0; r < 4; ++r) {
            CAPTURE(r);
            const auto wanted =
                reference::route(piece(logits, r, experts), static_cast<size_t>(used), renormalise);
            const std::vector<int> got(ids.begin() + r * used, ids.begin() + (r + 1) * used);
            CHECK(got == wanted.experts);
            CHECK(relative_error(piece(shares, r, used), wanted.shares) < kTolerance);
        }
        CHECK(untouched(piece(shares, 4, used)));
    }
}

struct Mixture {
    const char *gate, *up, *down;
    bool quantised;
    int waves;
};

// Each product of a mixture of experts, token by token and through slots sorted by expert.
std::vector<KernelCase> kernels_of(const Mixture& m) {
    constexpr int64_t kExperts = 5, kUsed = 3, kInner = 256, kHidden = 512, kTokens = 2;
    constexpr uint32_t kRows = 4, kChunks = kRows * kUsed / kTokens + kExperts;
    const auto threads = static_cast<uint32_t>(32 * m.waves);
    const double tolerance = m.quantised ? kQuantisedTolerance : 10 * kTolerance;
    std::map<std::string, std::string> up = {{"Gate", m.gate},
                                             {"Up", m.up},
                                             {"kUsed", text(kUsed)},
                                             {"kRows", text(kInner)},
                                             {"kCols", text(kHidden)},
                                             {"kQuantisedInput", text(m.quantised)},
                                             {"kQuantisedOutput", text(m.quantised)},
                                             {"kWaves", constant(m.waves)}};
    auto up_grouped = up;
    up["kGateScale"] = "false";
    up_grouped["kTokens"] = text(kTokens);
    std::map<std::string, std::string> down = {{"Quant", m.down},
                                               {"kRows", text(kHidden)},
                                               {"kCols", text(kInner)},
                                               {"kQuantisedInput", text(m.quantised)},
                                               {"kWaves", constant(m.waves)}};
    auto down_grouped = down;
    down["kUsed"] = text(kUsed);
    down_grouped["kTokens"] = text(kTokens);
    const KernelCase::Behind gate_tiles{m.gate, kExperts * kInner, kHidden},
        up_tiles{m.up, kExperts * kInner, kHidden}, down_tiles{m.down, kExperts * kHidden, kInner},
        slots{"bytes", 1, kRows * kUsed * (m.quantised ? kInner / 32 * 48 : kInner * 4)};
    std::vector<KernelCase> cases = {
        {.spec = {"experts_gate_up", up},
         .groups = {kInner / 32, kUsed, kRows},
         .behind = {{"gate", gate_tiles}, {"up", up_tiles}}},
        {.spec = {"experts_down", down},
         .groups = {kHidden / 32, kRows},
         .behind = {{"w", down_tiles}}},
        {.spec = {"experts_gate_up_grouped", up_grouped},
         .groups = {kInner / 32, kChunks},
         .behind = {{"gate", gate_tiles}, {"up", up_tiles}}},
        {.spec = {"experts_down_grouped", down_grouped},
         .groups = {kHidden / 32, kChunks},
         .behind = {{"w", down_tiles}, {"x", slots}}},
    };
    for (KernelCase& one : cases) one.threads = threads;
    cases.push_back(
        {.spec = {"experts_sum", {{"kUsed", "3"}, {"kCols", text(kHidden)}, {"kWaves", "1"}}},
         .groups = {kHidden / 32, kRows}});
    for (KernelCase& one : cases) {
        one.rows = kRows;
        one.tolerance = tolerance;
    }
    return cases;
}

TEST_CASE(
    "expert_groups sorts slots by expert, keeps their order, and marks chunks that are not used") {
    constexpr int64_t kExperts = 40, kUsed = 3, kTokens = 4, kRows = 29, kChunks = 48;
    const std::vector<int> pattern = {7, 39, 7, 7, 0, 7, 12, 7};
    std::vector<int> ids;
    for (size_t i = 0; i < kRows * kUsed; ++i) ids.push_back(pattern[i % pattern.size()]);
    for (const int waves : {1, 2, 4}) {
        KernelRun run({"expert_groups",
                       {{"kExperts", text(kExperts)},
                        {"kUsed", text(kUsed)},
                        {"kTokens", text(kTokens)},
                        {"kChunks", text(kChunks)},
                        {"kWaves", text(int64_t{waves})}}});
        run.step(0, kRows - 1).in(ids).out(ids.size() * 4).out(kChunks * 12);
        run.launch({1}, static_cast<uint32_t>(32 * waves));
        std::vector<int> slots((kRows - 1) * kUsed);
        std::iota(slots.begin(), slots.end(), 0);
        std::ranges::stable_sort(slots, {},
                                 [&](int slot) { return ids[static_cast<size_t>(slot)]; });
        auto order = run.get<int>(2);
        order.resize(slots.size());
        CHECK(order == slots);
        const auto chunks = run.get<int>(3);
        size_t covered = 0, used = 0;
        for (; used < kChunks && chunks[3 * used] >= 0; ++used) {
            const int first = chunks[3 * used + 1], last = chunks[3 * used + 2];
            CHECK(first == static_cast<int>(covered));
            CHECK(last - first < kTokens);
            for (int i = first; i <= last; ++i)
                CHECK(ids[static_cast<size_t>(order[static_cast<size_t>(i)])] == chunks[3 * used]);
            covered = static_cast<size_t>(last) + 1;
        }
        CHECK(covered == slots.size());
        for (; used < kChunks; ++used) CHECK(chunks[3 * used] == -1);
    }
}

TEST_CASE("experts equal the oracle for mixed formats, float and 8-bit activations") {
    std::vector<KernelCase> cases;
    for (const Mixture& m :
         {Mixture{"Q4_K", "Q4_K", "Q6_K", false, 1}, Mixture{"Q4_K", "Q4_K", "Q6_K", true, 1},
          Mixture{"Q8_0", "Q5_K", "Q4_K", true, 2}, Mixture{"F16", "Q8_0", "BF16", false, 4}})
        for (KernelCase& one : kernels_of(m)) cases.push_back(std::move(one));
    check(cases);
}

TEST_CASE("the kernels of a 35B-A3B-shaped plan need no scratch memory on RDNA 3 and 3.5") {
    const TestFolder folder;
    const std::string path = folder.path() / "header.gguf";
    write_synthetic(find_shape("qwen3.6-35b-a3b"), {.header_only = true}, path);
    const ModelFile file(path, ModelFile::Open::kHeaderOnly);
    const LayerGraph graph = build_layer_graph(file);
    for (const char* arch : {"gfx1100", "gfx1151"})
        for (const int rows : {1, 64})
            for (const KernelSpec& spec :
                 make_plan(graph, file, find_arch(arch), {.rows = rows}).kernels) {
                const std::string& layer = find_template(spec.name)->layer;
                if (!std::ranges::count(kLayers, layer)) continue;
                CAPTURE(spec.to_string());
                const CodeObject code =
                    choose_compiler(find_arch(arch), read_environment(), "clang")
                        ->compile({spec.name, TemplateSources().render(spec, TargetFamily::kAmd),
                                   find_arch(arch)});
                CHECK(code.resources.scratch_bytes == 0);
                CHECK(code.resources.spilled_vgprs == 0);
                CHECK(code.resources.vgprs <= 192);
            }
}

}  // namespace
}  // namespace hetune::testing
