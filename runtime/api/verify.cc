#include "runtime/api/verify.h"

#include <cmath>
#include <map>

#include "kernel_templates/catalogue.h"
#include "runtime/load/bad_numbers.h"

namespace hetune {
namespace {

struct OracleValue {
    int layer = -1;
    std::span<const float> rows;
};

std::map<std::string, OracleValue> values_by_name(const ReferenceEngine& oracle) {
    std::map<std::string, OracleValue> values;
    const LayerGraph& graph = oracle.graph();
    for (size_t i = 0; i < graph.values.size(); ++i)
        values[graph.values[i].name] = {graph.values[i].layer,
                                        oracle.value(static_cast<ValueId>(i))};
    return values;
}

double largest(std::span<const float> values) {
    double peak = 0;
    for (const float v : values) peak = std::max(peak, std::fabs(static_cast<double>(v)));
    return peak;
}

// NaN where either side has one.
double largest_difference(std::span<const float> a, std::span<const float> b) {
    double peak = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
        if (!(difference <= peak)) peak = difference;
    }
    return peak;
}

}  // namespace

std::set<std::string> products_of_halves(const Plan& plan) {
    std::set<std::string> names;
    for (const PlanStep& step : plan.steps) {
        if (!find_template(plan.spec(step).name)->promises.matrix) continue;
        for (const PlanArg& arg : step.args)
            if (const PlanBuffer& buffer = plan.buffers[static_cast<size_t>(arg.buffer)];
                buffer.role == BufferRole::kTiles)
                names.insert(buffer.tensor);
    }
    return names;
}

ModelComparison verify(ModelHost& model, ReferenceEngine& oracle, std::span<const int32_t> tokens) {
    const std::vector<float> wanted = oracle_logits(oracle, tokens);
    const auto oracle_values = values_by_name(oracle);

    ModelComparison report;
    std::vector<float> logits;
    std::map<std::string, size_t> index;  // into report.values
    const auto sequence = std::make_shared<SequenceState>();
    const auto look = [&](const BoundPlan& bound, size_t at, int rows) {
        const PlanStep& step = bound.plan().steps[at];
        const auto first = static_cast<size_t>(sequence->computed);
        for (const StepValue& value : step.values) {
            const PlanArg& arg = step.args[static_cast<size_t>(value.arg)];
            const size_t width = static_cast<size_t>(value.width);
            std::vector<float> got(static_cast<size_t>(rows) * width);
            model.device->download(std::as_writable_bytes(std::span(got)), bound.buffer(arg.buffer),
                                   static_cast<size_t>(arg.offset));
            if (arg.buffer == bound.plan().logits_buffer)
                logits.insert(logits.end(), got.begin(), got.end());
            const auto oracle_value = oracle_values.find(value.name);
            if (oracle_value == oracle_values.end()) continue;
            const auto all = oracle_value->second.rows;
            if (all.size() != tokens.size() * width) continue;
            const auto [found, added] = index.emplace(value.name, report.values.size());
            if (added) report.values.push_back({value.name, oracle_value->second.layer, 0});
            double& worst = report.values[found->second].relative;
            const double error = largest_difference(got, all.subspan(first * width, got.size()));
            if (!(error <= worst)) worst = error;
        }
    };
    model.scheduler->run(
        [&](Engine& engine) {
            check_fits(tokens, 0, engine.context(), engine.vocabulary());
            sequence->append(tokens, SequenceState::Path::kEachLogits);
            while (sequence->computed < sequence->size()) model.stepper->trace(*sequence, look);
            if (all_finite(logits)) return;
            sequence->cut(0);
            append_for_output(engine, *sequence, tokens,
                              SequenceState::Path::kEachLogits);  // throws, with the place
        },
        sequence);
    model.scheduler->release(sequence);
    for (ValueError& value : report.values) {
        const double peak = largest(oracle_values.at(value.name).rows);
        if (peak > 0) value.relative /= peak;
    }
    report.logits = compare_logits(wanted, logits, oracle.vocabulary());
    report.model_logits = std::move(logits);
    return report;
}

std::vector<ValueError> worst_of_layers(std::span<const ValueError> values) {
    std::map<int, ValueError> worst;
    for (const ValueError& value : values) {
        const auto [at, added] = worst.emplace(value.layer, value);
        if (!added && !(value.relative <= at->second.relative)) at->second = value;
    }
    std::vector<ValueError> list;
    for (auto& [layer, value] : worst) list.push_back(std::move(value));
    return list;
}

}  // namespace hetune
