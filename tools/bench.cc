// hetune bench: speed of a model here, beside what the memory's bandwidth allows.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "planner/plan_text.h"
#include "runtime/model_parts.h"
#include "tools/command.h"
#include "tools/model_options.h"

namespace hetune {
namespace {

using Json = nlohmann::ordered_json;

struct BenchArguments {
    ModelArguments model;
    int64_t prompt = 512;
    int64_t tokens = 128;
    int repeat = 3;
    bool steps = false;
    bool json = false;
};

struct Spread {
    double median = 0, least = 0, most = 0;
};

Spread spread_of(std::vector<double> values) {
    std::ranges::sort(values);
    return {values[values.size() / 2], values.front(), values.back()};
}

Json to_json(const Spread& spread) {
    return {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}};
}

// Tokens that are no text; the time of a step does not depend on them.
std::vector<int32_t> some_tokens(int64_t count, int64_t vocabulary) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < count; ++i)
        tokens.push_back(static_cast<int32_t>((i * 7919 + 13) % vocabulary));
    return tokens;
}

struct Speed {
    Spread prefill, decode;  // tokens per second
};

Speed measure_speed(Model& model, const BenchArguments& args) {
    const std::vector<int32_t> prompt = some_tokens(args.prompt, model.info().vocabulary);
    const auto generate = [&](int64_t tokens) {
        model.reset();
        return model.generate(prompt, {.max_tokens = tokens, .ignore_end = true}, {});
    };
    generate(2);  // captures graphs, and brings weights into memory
    std::vector<double> prefill, decode;
    for (int i = 0; i < args.repeat; ++i) {
        const Generated g = generate(args.tokens + 1);  // the first is part of the prefill
        prefill.push_back(static_cast<double>(args.prompt) / g.prefill_seconds);
        decode.push_back(static_cast<double>(args.tokens) / g.decode_seconds);
    }
    return {spread_of(prefill), spread_of(decode)};
}

Roofline sum_of(const Plan& plan, const Arch& arch, int64_t context) {
    Roofline sum;
    for (const PlanStep& step : plan.steps) {
        const Roofline line = roofline(step.cost, arch, context);
        sum.bytes += line.bytes;
        sum.operations += line.operations;
        sum.us += line.us;
    }
    return sum;
}

// One decoded token in the middle of the measured ones, and the prompt in steps.
struct Floor {
    int64_t launches = 0;  // of one decoded token, with the draw
    Roofline decode;
    double prefill_us = 0;
};

Floor floor_of(const Session& session, const BenchArguments& args) {
    const Arch& arch = session.device().arch();
    const Plan decode = session.plan_for(1, false);
    Floor floor{.launches = static_cast<int64_t>(decode.steps.size()) + 1,
                .decode = sum_of(decode, arch, args.prompt + args.tokens / 2)};
    for (int64_t at = 0; at < args.prompt; at += session.options().prefill_rows) {
        const auto rows = std::min<int64_t>(args.prompt - at, session.options().prefill_rows);
        floor.prefill_us += sum_of(session.plan_for(static_cast<int>(rows), false), arch, at).us;
    }
    return floor;
}

struct StepTime {
    std::string label, kernel;
    double us = 0;  // median
    Roofline floor;
};

// In the order of the plan, so that each step finds the caches as they are when a token is decoded.
// The longest first.
std::vector<StepTime> measure_steps(Session& session, const BenchArguments& args) {
    const std::vector<int32_t> prompt = some_tokens(args.prompt, session.vocabulary());
    session.reset();
    session.prompt(prompt, {});
    BoundPlan& bound = session.decode_plan();
    const std::vector<PlanStep>& steps = bound.plan().steps;
    std::vector<std::vector<double>> us(steps.size());
    constexpr int kSweeps = 11;
    for (int sweep = 0; sweep < kSweeps; ++sweep)
        for (size_t i = 0; i < steps.size(); ++i)
            us[i].push_back(1e3 * session.device().time_ms([&] { bound.launch(1, i, i + 1); }));
    session.reset();
    std::vector<StepTime> times;
    for (size_t i = 0; i < steps.size(); ++i)
        times.push_back({steps[i].label, steps[i].spec.name, spread_of(us[i]).median,
                         roofline(steps[i].cost, session.device().arch(), args.prompt)});
    std::ranges::stable_sort(times, std::ranges::greater(), &StepTime::us);
    return times;
}

double share(double floor_us, double us) { return us > 0 ? 100 * floor_us / us : 0; }

void print_json(const Model& model, const BenchArguments& args, const Speed& speed, const Floor* floor,
                const std::vector<StepTime>& steps) {
    Json json = {{"model", model.info().name},
                 {"backend", model.info().backend},
                 {"device", model.info().device},
                 {"arch", model.info().arch},
                 {"prompt", args.prompt},
                 {"tokens", args.tokens},
                 {"repeat", args.repeat},
                 {"prefill_tok_s", to_json(speed.prefill)},
                 {"decode_tok_s", to_json(speed.decode)}};
    if (floor != nullptr) {
        json["launches_per_token"] = floor->launches;
        json["bytes_per_token"] = floor->decode.bytes;
        json["decode_gb_s"] = static_cast<double>(floor->decode.bytes) * speed.decode.median * 1e-9;
        json["decode_roofline_percent"] = share(floor->decode.us, 1e6 / speed.decode.median);
        json["prefill_roofline_percent"] =
            share(floor->prefill_us, 1e6 * static_cast<double>(args.prompt) / speed.prefill.median);
    }
    for (const StepTime& step : steps)
        json["steps"].push_back({{"step", step.label},
                                 {"kernel", step.kernel},
                                 {"us", step.us},
                                 {"floor_us", step.floor.us},
                                 {"bytes", step.floor.bytes}});
    fmt::print("{}\n", json.dump(2));
}

void print_text(const Model& model, const BenchArguments& args, const Speed& speed, const Floor* floor,
                const std::vector<StepTime>& steps) {
    fmt::print("{}\n", device_line(model.info()));
    const auto row = [](const char* what, int64_t count, const Spread& s) {
        fmt::print("{:<8} {:>5} tokens {:>10.1f} tok/s  (min {:.1f}, max {:.1f})\n", what, count, s.median,
                   s.least, s.most);
    };
    row("prefill", args.prompt, speed.prefill);
    row("decode", args.tokens, speed.decode);
    if (floor == nullptr) return;
    fmt::print("decode: {} launches and {:.1f} MB a token, {:.1f} GB/s, {:.1f} % of the roofline; prefill "
               "{:.1f} %\n",
               floor->launches, static_cast<double>(floor->decode.bytes) * 1e-6,
               static_cast<double>(floor->decode.bytes) * speed.decode.median * 1e-9,
               share(floor->decode.us, 1e6 / speed.decode.median),
               share(floor->prefill_us, 1e6 * static_cast<double>(args.prompt) / speed.prefill.median));
    if (steps.empty()) return;
    fmt::print("\n{:<34} {:<18} {:>10} {:>10} {:>8} {:>10}\n", "step of decode", "kernel", "us", "floor us",
               "share", "KiB");
    double us = 0, floor_us = 0;
    for (const StepTime& step : steps) {
        us += step.us;
        floor_us += step.floor.us;
        fmt::print("{:<34} {:<18} {:>10.2f} {:>10.2f} {:>6.1f} % {:>10.1f}\n", step.label, step.kernel, step.us,
                   step.floor.us, share(step.floor.us, step.us), static_cast<double>(step.floor.bytes) / 1024);
    }
    fmt::print("{:<34} {:<18} {:>10.2f} {:>10.2f} {:>6.1f} %\n", "together", "", us, floor_us,
               share(floor_us, us));
    fmt::print("{:<34} {:<18} {:>10.2f}\n", "a token, with draw and host", "", 1e6 / speed.decode.median);
}

int run(BenchArguments& args) {
    if (args.model.options.context == 0) args.model.options.context = args.prompt + args.tokens + 1;
    Model model = args.model.load();
    if (model.info().context < args.prompt + args.tokens + 1)
        throw std::runtime_error(fmt::format("--prompt {} and --tokens {} need --ctx {}", args.prompt,
                                             args.tokens, args.prompt + args.tokens + 1));
    Session* session = ModelParts::session(model);
    if (args.steps && session == nullptr)
        throw std::runtime_error("--steps: the reference backend has no plan; take another --backend");
    const Speed speed = measure_speed(model, args);
    std::vector<StepTime> steps;
    if (args.steps) steps = measure_steps(*session, args);
    Floor floor;
    if (session != nullptr) floor = floor_of(*session, args);
    (args.json ? print_json : print_text)(model, args, speed, session != nullptr ? &floor : nullptr, steps);
    return 0;
}

const RegisterCommand kBench{
    "bench", "Measures prefill and decode, and the time of every step", [](CLI::App& app) {
        auto args = std::make_shared<BenchArguments>();
        args->model.add_to(app);
        const auto positive = CLI::Range(int64_t{1}, int64_t{1} << 30);
        app.add_option("--prompt", args->prompt, "tokens of the prompt")->check(positive)->capture_default_str();
        app.add_option("--tokens", args->tokens, "tokens to decode")->check(positive)->capture_default_str();
        app.add_option("--repeat", args->repeat, "runs, behind one to warm up")
            ->check(CLI::Range(1, 1000))
            ->capture_default_str();
        app.add_flag("--steps", args->steps, "also the time of every step of decoding, the longest first");
        app.add_flag("--json", args->json, "print JSON");
        app.footer(
            "The roofline is what the bytes and operations of the plan take at the memory bandwidth and\n"
            "arithmetic rate on paper (`hetune plan` has them). A step alone is timed with its launch.\n\n"
            "Example:\n  hetune bench model.gguf --prompt 512 --tokens 128 --steps");
        return [args] { return run(*args); };
    }};

}  // namespace
}  // namespace hetune
