#include "runtime/load/bound_plan.h"

#include <algorithm>

#include "kernel_templates/catalogue.h"

namespace hetune {

LaunchShape launch_shape(const PlanStep& step, int rows) {
    LaunchShape shape{.threads = step.threads};
    std::ranges::copy(step.groups, shape.groups);
    if (step.rows_axis >= 0)
        shape.groups[step.rows_axis] =
            static_cast<uint32_t>((rows + step.rows_per_group - 1) / step.rows_per_group);
    return shape;
}

BoundPlan::BoundPlan(Device& device, Plan plan, const LoadedKernels& kernels,
                     const std::vector<Buffer*>& buffers)
    : device_(device),
      plan_(std::move(plan)),
      buffers_(buffers),
      output_step_(plan_.output_step()),
      row_alignment_(plan_.row_alignment()) {
    const std::vector<Module*> modules = kernels.modules_of(plan_);
    for (const PlanStep& step : plan_.steps) {
        Launch launch{.module = modules[static_cast<size_t>(step.kernel)],
                      .overlaps = find_template(plan_.spec(step).name)->overlaps};
        for (const PlanArg& arg : step.args) {
            const uint64_t address = buffers[static_cast<size_t>(arg.buffer)]->address() +
                                     static_cast<uint64_t>(arg.offset);
            const auto* bytes = reinterpret_cast<const std::byte*>(&address);
            launch.args.insert(launch.args.end(), bytes, bytes + sizeof address);
        }
        launches_.push_back(std::move(launch));
    }
}

void BoundPlan::launch(int rows, size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
        LaunchShape shape = launch_shape(plan_.steps[i], rows);
        shape.overlaps = launches_[i].overlaps;
        device_.launch(*launches_[i].module, shape, launches_[i].args);
    }
}

void BoundPlan::run(int rows) {
    run_rows(rows);
    run_output();
}

void BoundPlan::run_rows(int rows) {
    if (rows != plan_.options.rows) return launch(rows, 0, output_step_);
    if (rows_graph_ == nullptr)
        rows_graph_ = device_.capture([&] { launch(rows, 0, output_step_); });
    device_.replay(*rows_graph_);
}

void BoundPlan::run_output() {
    if (output_step_ == launches_.size()) return;
    if (output_graph_ == nullptr)
        output_graph_ = device_.capture([&] { launch(1, output_step_, launches_.size()); });
    device_.replay(*output_graph_);
}

}  // namespace hetune
