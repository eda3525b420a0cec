// Kernels that do for one token what several do for a step: each against those, or against the
// oracle.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "kernel_templates/quant/registry.h"
#include "runtime/oracle/primitives.h"
#include "tests/kernel_templates/kernel_run.h"

namespace hetune {
namespace {

using namespace testing;

constexpr double kTolerance = 1e-4;
constexpr double kHalfStep = 0.5 / 127;  // of 8-bit outputs, whose blocks have 127 steps a side

std::string text(int64_t value) { return std::to_string(value); }
std::string text(bool value) { return value ? "true" : "false"; }

struct Net {
    int64_t key_heads, heads, key_size, value_size, splits, waves;
    bool quantised;

    int64_t channels() const { return 2 * key_heads * key_size + heads * value_size; }
    int64_t values() const { return heads * value_size; }
};

TEST_CASE("delta_step does what causal_conv, delta_net and gated_rmsnorm do, token after token") {
    for (const Net& net : {Net{2, 4, 64, 64, 1, 1, false}, Net{2, 4, 64, 64, 4, 8, true},
                           Net{1, 3, 16, 40, 2, 4, false}, Net{2, 2, 128, 32, 4, 3, true}}) {
        CAPTURE(net.key_size);
        CAPTURE(net.waves);
        constexpr int64_t kTaps = 4, kTokens = 6;
        const auto sized = [](int64_t count, uint32_t seed) {
            return random_floats(static_cast<size_t>(count), seed);
        };
        const auto taps = sized(net.channels() * kTaps, 1), bias = sized(net.heads, 2),
                   norm = sized(net.value_size, 3);
        auto rate = sized(net.heads, 4);
        for (float& r : rate) r = -std::abs(r);
        std::vector<float> ring(static_cast<size_t>(kTaps * net.channels()));
        auto state = sized(net.heads * net.key_size * net.value_size, 5);
        auto step_ring = ring, step_state = state;
        const std::map<std::string, std::string> heads = {{"kKeyHeads", text(net.key_heads)},
                                                          {"kValueHeads", text(net.heads)},
                                                          {"kKeySize", text(net.key_size)},
                                                          {"kValueSize", text(net.value_size)},
                                                          {"kEps", "1e-6f"}};
        for (int token = 0; token < kTokens; ++token) {
            CAPTURE(token);
            const auto seed = static_cast<uint32_t>(10 * token);
            const auto qkv = sized(net.channels(), seed + 6), z = sized(net.values(), seed + 7);
            const auto a = sized(net.heads, seed + 8), b = sized(net.heads, seed + 9);

            KernelRun conv({"causal_conv",
                            {{"kWidth", text(net.channels())},
                             {"kTaps", text(kTaps)},
                             {"kRows", "8"},
                             {"kWaves", "1"}}});
            conv.step(token, 1).in(qkv).in(taps).in(ring).out(qkv.size() * 4);
            conv.launch({groups_of(net.channels(), 32)}, 32);
            ring = conv.get<float>(3);
            auto constants = heads;
            constants["kWaves"] = "1";
            KernelRun delta({"delta_net", constants});
            delta.step(token, 1).in(conv.get<float>(4)).in(a).in(b).in(rate).in(bias).in(state);
            delta.out(z.size() * 4)
                .launch({static_cast<uint32_t>(net.heads), groups_of(net.value_size, 32)}, 32);
            state = delta.get<float>(6);
            KernelRun gated({"gated_rmsnorm",
                             {{"kHeads", text(net.heads)},
                              {"kHeadSize", text(net.value_size)},
                              {"kEps", "1e-5f"}}});
            gated.step(token, 1).in(delta.get<float>(7)).in(z).in(norm).out(z.size() * 4);
            gated.launch({static_cast<uint32_t>(net.heads), 1}, 32);

            constants = heads;
            constants["kTaps"] = text(kTaps);
            constants["kNormEps"] = "1e-5f";
            constants["kQuantisedOutput"] = text(net.quantised);
            constants["kSplits"] = text(net.splits);
            constants["kWaves"] = text(net.waves);
            KernelRun step({"delta_step", constants});
            step.step(token, 1).in(qkv).in(a).in(b).in(z).in(taps).in(rate).in(bias).in(norm);
            step.in(step_ring)
                .in(step_state)
                .out(net.quantised ? z.size() / 32 * 48 : z.size() * 4);
            step.launch({static_cast<uint32_t>(net.heads)}, static_cast<uint32_t>(32 * net.waves));
            step_ring = step.get<float>(9);
            step_state = step.get<float>(10);
            CHECK(step_ring == ring);
            CHECK(relative_error(step_state, state) < kTolerance);
            const auto got =
                net.quantised ? values_of_blocks(step.get<uint8_t>(11)) : step.get<float>(11);
            CHECK(relative_error(got, gated.get<float>(4)) <
                  (net.quantised ? kHalfStep + kTolerance : kTolerance));
        }
    }
}

TEST_CASE("delta_step of a step without rows leaves all as it was") {
    KernelRun step({"delta_step",
                    {{"kKeyHeads", "1"},
                     {"kValueHeads", "1"},
                     {"kKeySize", "32"},
                     {"kValueSize", "32"},
                     {"kTaps", "4"},
                     {"kEps", "1e-6f"},
                     {"kNormEps", "1e-6f"},
                     {"kQuantisedOutput", "false"},
                     {"kSplits", "1"},
                     {"kWaves", "1"}}});
    const auto some = random_floats(4 * 96, 1), state = random_floats(32 * 32, 2);
    step.step(3, 0)
        .in(some)
        .in(some)
        .in(some)
        .in(some)
        .in(some)
        .in(some)
        .in(some)
        .in(some)
        .in(some)
        .in(state);
    step.out(128).launch({1}, 32);
    CHECK(step.get<float>(9) == some);
    CHECK(step.get<float>(10) == state);
    CHECK(std::isnan(step.get<float>(11)[0]));
}

struct Route {
    int64_t experts, used, cols, splits, waves;
    bool renormalise, shared, normed;
};

TEST_CASE("moe_route chooses as the router does, from logits of an input whose norm is due") {
    for (const Route& route :
         {Route{8, 2, 64, 1, 1, true, true, true}, Route{256, 8, 128, 4, 1, true, true, true},
          Route{60, 4, 256, 2, 4, false, false, true},
          Route{33, 32, 64, 2, 1, true, true, false}}) {
        CAPTURE(route.experts);
        const auto sized = [](int64_t count, uint32_t seed) {
            return random_floats(static_cast<size_t>(count), seed);
        };
        const auto x = sized(route.cols, 1), norm = sized(route.cols, 2),
                   w = sized(route.experts * route.cols, 3), gate = sized(route.cols, 4);
        std::vector<float> squares;
        double all = 0;
        for (size_t block = 0; block < x.size() / 32; ++block) {
            double sum = 0;
            for (size_t i = 0; i < 32; ++i)
                sum +=
                    static_cast<double>(x[block * 32 + i]) * static_cast<double>(x[block * 32 + i]);
            squares.push_back(static_cast<float>(sum));
            all += sum;
        }
        const double factor =
            route.normed ? 1 / std::sqrt(all / static_cast<double>(route.cols) + 1e-6) : 1;
        const auto product = [&](const float* row) {
            double sum = 0;
            for (size_t i = 0; i < x.size(); ++i)
                sum += static_cast<double>(row[i]) * static_cast<double>(x[i]) *
                       (route.normed ? static_cast<double>(norm[i]) : 1.0);
            return sum * factor;
        };
        std::vector<float> logits;
        for (int64_t e = 0; e < route.experts; ++e)
            logits.push_back(static_cast<float>(product(w.data() + e * route.cols)));
        KernelRun router({"router",
                          {{"kExperts", text(route.experts)},
                           {"kUsed", text(route.used)},
                           {"kRenormalise", text(route.renormalise)}}});
        router.step(0, 1)
            .in(logits)
            .out(static_cast<size_t>(route.used) * 4)
            .out(static_cast<size_t>(route.used) * 4);
        router.launch({1}, 32);

        const QuantFormat& f32 = *find_quant("F32");
        std::vector<uint8_t> tiles(
            static_cast<size_t>(tiles_bytes(f32, route.experts, route.cols)));
        pack_tiles(f32, route.experts, route.cols, reinterpret_cast<const uint8_t*>(w.data()),
                   tiles.data(), 0, (route.experts + 31) / 32);
        const int64_t row_tiles = (route.experts + 31) / 32;
        KernelRun run({"moe_route",
                       {{"Quant", "F32"},
                        {"kExperts", text(route.experts)},
                        {"kUsed", text(route.used)},
                        {"kRenormalise", text(route.renormalise)},
                        {"kShared", text(route.shared)},
                        {"kCols", text(route.cols)},
                        {"kNormed", text(route.normed)},
                        {"kEps", "1e-6f"},
                        {"kSplits", text(route.splits)},
                        {"kWaves", text(route.waves)}}});
        std::vector<uint8_t> gate_tiles(static_cast<size_t>(tiles_bytes(f32, 1, route.cols)));
        pack_tiles(f32, 1, route.cols, reinterpret_cast<const uint8_t*>(gate.data()),
                   gate_tiles.data(), 0, 1);
        run.step(0, 1).in(x).in(norm).in(squares).in(tiles).in(gate_tiles);
        run.out(static_cast<size_t>(route.splits * (row_tiles * 32 + 1)) * 4)
            .in(std::vector<int>{0});
        run.out(static_cast<size_t>(route.used) * 4).out(static_cast<size_t>(route.used + 1) * 4);
        run.launch({static_cast<uint32_t>(row_tiles + (route.shared ? 1 : 0)),
                    static_cast<uint32_t>(route.splits)},
                   static_cast<uint32_t>(32 * route.waves));
        CHECK(run.get<int>(7)[0] == 0);
        CHECK(run.get<int>(8) == router.get<int>(2));
        const auto shares = run.get<float>(9);
        CHECK(relative_error(std::span(shares).first(static_cast<size_t>(route.used)),
                             router.get<float>(3)) < 1e-4);
        if (route.shared)
            CHECK(shares.back() ==
                  doctest::Approx(reference::sigmoid(product(gate.data()))).epsilon(1e-4));
        else
            CHECK(std::isnan(shares.back()));
    }
}

TEST_CASE(
    "attention_step equals the oracle in any number of parts, splits and waves, with a gate and "
    "without") {
    std::vector<KernelCase> cases;
    for (const int position : {0, 31, 32, 299})
        for (const auto& [parts, splits, waves] :
             {std::tuple{1, 1, 1}, {1, 1, 4}, {2, 3, 2}, {3, 32, 1}, {1, 64, 2}, {2, 64, 4}})
            for (const bool gated : {false, true})
                cases.push_back(
                    {.spec = {"attention_step",
                              {{"Kv", "KvF32"},
                               {"kHeads", "12"},
                               {"kKvHeads", "2"},
                               {"kHeadSize", "64"},
                               {"kScale", "0.125f"},
                               {"kNorm", "true"},
                               {"kEps", "1e-6f"},
                               {"kRotary", "32"},
                               {"kInterleaved", "false"},
                               {"kMagnitude", "1.0f"},
                               {"kGated", text(gated)},
                               {"kQuantisedOutput", "false"},
                               {"kParts", constant(parts)},
                               {"kSplits", constant(splits)},
                               {"kWaves", constant(waves)}}},
                     .groups = {static_cast<uint32_t>(2 * parts), static_cast<uint32_t>(splits)},
                     .threads = static_cast<uint32_t>(32 * waves),
                     .behind = {{"q_norm", {"floats", 1, 64}},
                                {"k_norm", {"floats", 1, 64}},
                                {"turns", {"turns", 1, 16}}},
                     .tolerance = kTolerance,
                     .position = position});
    cases.push_back(cases.back());  // and with a cache of halves
    cases.back().spec.constants["Kv"] = "KvF16";
    cases.back().tolerance = 1;
    check(cases);
}

}  // namespace
}  // namespace hetune
