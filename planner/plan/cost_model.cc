#include "planner/plan/cost_model.h"

#include <algorithm>
#include <cmath>

#include "kernel_templates/catalogue.h"
#include "planner/plan/occupancy.h"
#include "planner/plan/plan_text.h"

namespace hetune {
namespace {

constexpr int kGuessedVgprs = 64;    // of a kernel that is not compiled yet
constexpr double kCacheSpeedup = 3;  // of the last level over memory

uint64_t group_count(const PlanStep& step) {
    return std::max<uint64_t>(1, uint64_t{step.groups[0]} * step.groups[1] * step.groups[2]);
}

// Bytes that all waves ask for: every group of rows passes over the weights once, from the second
// on out of a cache.
double asked_bytes(const PlanStep& step, const Roofline& line) {
    const double passes = step.rows_axis >= 0 ? step.groups[step.rows_axis] : 1;
    return static_cast<double>(line.bytes) +
           static_cast<double>(step.cost.weight_bytes) * (passes - 1);
}

int units_of(const Arch& arch) {
    return std::max(1, arch.compute_units / arch.compute_units_per_unit);
}

// Lanes as fibers: a core runs one group at a time, and a barrier changes every lane twice.
Prediction predict_cpu(const PlanStep& step, const Arch& arch, const Roofline& line) {
    const double groups = static_cast<double>(group_count(step));
    const double waves = step.threads / 32.0;
    const double rounds = std::ceil(groups / arch.compute_units);
    Prediction p{.memory_us = static_cast<double>(line.bytes) / (arch.bandwidth_gb_s * 1e3),
                 .math_us = static_cast<double>(line.operations) / (arch.half_tflops * 1e6),
                 .serial_us = rounds * waves * arch.barrier_us,
                 .launch_us = arch.launch_us,
                 .waves_per_simd = 1};
    p.us = std::max(p.memory_us, p.math_us) + p.serial_us + p.launch_us;
    return p;
}

Prediction predict_gpu(const KernelSpec& spec, const PlanStep& step, const Arch& arch,
                       const Roofline& line, const StaticResources& resources) {
    const TemplateInfo* info = find_template(spec.name);
    const int lds = resources.lds_bytes >= 0 ? resources.lds_bytes
                    : info != nullptr        ? static_cast<int>(lds_bytes(spec))
                                             : 0;
    const int vgprs = resources.vgprs > 0 ? resources.vgprs : kGuessedVgprs;
    Prediction p{.launch_us = arch.launch_us};
    p.waves_per_simd = occupancy(arch, vgprs, lds, static_cast<int>(step.threads)).waves_per_simd;
    if (p.waves_per_simd == 0) return p;

    const double groups = static_cast<double>(group_count(step));
    const double waves = std::max(1.0, step.threads / 32.0);
    const double slots =
        std::max(1.0, units_of(arch) * std::floor(p.waves_per_simd * arch.simds_per_unit / waves));
    const double rounds = std::ceil(groups / slots);
    // The last round is as long as the others, however few groups it has.
    const double tail = groups > slots ? rounds * slots / groups : 1.0;
    const double bytes = asked_bytes(step, line);
    p.memory_us = std::max(static_cast<double>(line.bytes), bytes / kCacheSpeedup) /
                  (arch.bandwidth_gb_s * 1e3) * tail;
    // A group of one wave leaves the other SIMDs of its unit idle until there are more groups.
    const double busy = std::min(1.0, groups * waves / (units_of(arch) * arch.simds_per_unit));
    p.math_us = static_cast<double>(line.operations) /
                (arch.half_tflops * 1e6 * std::max(busy, 1e-6)) * tail;
    // One wave after the other: its loads wait for memory as often as it can have them on their
    // way.
    const double bytes_of_wave = bytes / (groups * waves);
    p.serial_us = rounds * (std::ceil(bytes_of_wave / arch.wave_bytes) * arch.latency_us +
                            (waves > 1 ? arch.barrier_us * std::log2(2 * waves) : 0.0));
    p.us = std::max({p.memory_us, p.math_us, p.serial_us}) + p.launch_us;
    return p;
}

}  // namespace

Prediction predict(const Plan& plan, const PlanStep& step, const Arch& arch, int64_t context,
                   const StaticResources& resources) {
    const Roofline line = roofline(step.cost, arch, context);
    Prediction p = arch.on_host ? predict_cpu(step, arch, line)
                                : predict_gpu(plan.spec(step), step, arch, line, resources);
    const double most = std::max({p.memory_us, p.math_us, p.serial_us, p.launch_us});
    p.bound_by = most == p.launch_us   ? "launch"
                 : most == p.serial_us ? "latency"
                 : most == p.math_us   ? "operations"
                                       : "memory";
    return p;
}

}  // namespace hetune
